import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.routing.dat import (
    BOTH,
    GEOIP,
    GEOSITE,
    Files,
    numeric,
    sized,
    varint,
    write_geoip,
    write_geosite,
)
from trio_vmess.node.assets import Assets
from trio_vmess.routing.address import AddressMatcher
from trio_vmess.routing.domain import DomainMatcher
from trio_vmess.routing.geo import (
    GeoFiles,
    Ranges,
    Site,
    SiteKind,
    decode_networks,
    decode_sites,
    find_entry,
    list_names,
)


def range_of(network: str) -> tuple[int, int]:
    parsed = ipaddress.ip_network(network)
    return int(parsed.network_address), int(parsed.broadcast_address)


def test_networks_are_decoded_by_family() -> None:
    entry = find_entry(BOTH["geoip.dat"], "cn")
    assert entry is not None
    assert decode_networks(entry) == Ranges(
        [range_of(each) for each in GEOIP["CN"] if ":" not in each],
        [range_of(each) for each in GEOIP["CN"] if ":" in each],
    )


def test_names_are_decoded_with_kind_and_attributes() -> None:
    entry = find_entry(BOTH["geosite.dat"], "Google")
    assert entry is not None
    assert decode_sites(entry) == [
        Site(SiteKind.DOMAIN, "google.com"),
        Site(SiteKind.DOMAIN, "google.cn", frozenset({"cn"})),
        Site(SiteKind.DOMAIN, "doubleclick.net", frozenset({"ads", "cn"})),
    ]


def test_all_kinds_of_names() -> None:
    entry = find_entry(BOTH["geosite.dat"], "category-ads-all")
    assert entry is not None
    assert [site.kind for site in decode_sites(entry)] == [
        *(SiteKind.DOMAIN, SiteKind.FULL, SiteKind.KEYWORD, SiteKind.REGEXP)
    ]


def test_lists_are_named_in_the_order_of_the_file() -> None:
    assert list_names(BOTH["geosite.dat"]) == list(GEOSITE)
    assert list_names(b"") == []


def test_a_golden_file() -> None:
    # Written down byte by byte from the layout: one list "A" with 10.0.0.0/8.
    data = bytes.fromhex("0a0d 0a0141 1208 0a040a000000 1008")
    assert write_geoip({"A": ["10.0.0.0/8"]}) == data
    assert GeoFiles(lambda _: data).networks("f", "a") == Ranges([range_of("10.0.0.0/8")], [])


def test_unknown_fields_are_skipped() -> None:
    unknown = (
        numeric(9, 300) + sized(1000, b"x" * 200) + varint(7 << 3 | 5) + bytes(4)
        + varint(8 << 3 | 1) + bytes(8)
    )  # fmt: skip
    address = sized(1, bytes([10, 0, 0, 0])) + unknown + numeric(2, 8)
    data = unknown + sized(1, unknown + sized(1, b"A") + unknown + sized(2, address) + unknown)
    assert GeoFiles(lambda _: data).networks("f", "A") == Ranges([range_of("10.0.0.0/8")], [])


def test_the_name_may_be_the_last_field() -> None:
    data = sized(1, sized(2, sized(2, b"example.com")) + sized(1, b"LATE"))
    assert [site.value for site in GeoFiles(lambda _: data).sites("f", "late")] == ["example.com"]


def test_an_ipv4_network_written_as_ipv6() -> None:
    mapped = ipaddress.ip_address("::ffff:192.0.2.0").packed
    data = sized(1, sized(1, b"M") + sized(2, sized(1, mapped) + numeric(2, 120)))
    assert GeoFiles(lambda _: data).networks("f", "m") == Ranges([range_of("192.0.2.0/24")], [])


def test_an_empty_name_is_left_out() -> None:
    data = sized(1, sized(1, b"E") + sized(2, b""))
    assert GeoFiles(lambda _: data).sites("f", "e") == []


def test_attributes_select_names() -> None:
    geo = GeoFiles(Files(BOTH).load)

    def select(*names: str) -> list[str]:
        return [site.value for site in geo.sites("geosite.dat", "google", names)]

    assert select("ads") == ["doubleclick.net"]
    assert select("CN") == ["google.cn", "doubleclick.net"]
    assert select("cn", "ads") == ["doubleclick.net"]
    assert select("none") == []


def test_each_file_is_read_once_and_only_if_needed() -> None:
    files = Files(BOTH)
    geo = GeoFiles(files.load)
    assert files.read == []
    geo.networks("geoip.dat", "cn")
    geo.networks("geoip.dat", "us")
    geo.networks("geoip.dat", "CN")
    assert files.read == ["geoip.dat"]


def test_only_the_wanted_list_is_decoded() -> None:
    damaged = sized(1, sized(1, b"BAD") + sized(2, sized(1, b"12345")))
    data = damaged + write_geoip({"GOOD": ["10.0.0.0/8"]}) + damaged
    geo = GeoFiles(lambda _: data)
    assert geo.networks("f", "good") == Ranges([range_of("10.0.0.0/8")], [])
    with pytest.raises(
        ValueError, match=r"^f is damaged or not in V2Ray's format: an address of 5 bytes"
    ):
        geo.networks("f", "bad")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("googel", "geosite.dat has no list 'googel' among its 4; did you mean 'google'?"),
        ("zzz", "geosite.dat has no list 'zzz' among its 4; a newer file may have it"),
    ],
)
def test_an_unknown_list_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match="has no list") as caught:
        GeoFiles(Files(BOTH).load).sites("geosite.dat", name)
    assert str(caught.value) == message


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^geoip\.dat is nowhere; install it$"):
        GeoFiles(Files().load).networks("geoip.dat", "cn")


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",
        b"\x0a\x05\x0a",
        b"\x0b",
        b"\xff" * 12,
        b"\x0a\x03\x0a\x01\xff",
        b"<!DOCTYPE html>",
        b"\x08",
    ],
)
def test_a_damaged_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is damaged or not in V2Ray's format"):
        GeoFiles(lambda _: data).sites("f", "x")


@pytest.mark.parametrize("kind", [4, 100, 1 << 63])
def test_an_unknown_kind_of_name_is_refused(kind: int) -> None:
    data = sized(1, sized(1, b"X") + sized(2, numeric(1, kind) + sized(2, b"a")))
    with pytest.raises(ValueError, match=rf"not in V2Ray's format: a name of unknown kind {kind}$"):
        GeoFiles(lambda _: data).sites("f", "x")


@given(st.binary(max_size=80))
def test_any_bytes_raise_nothing_but_value_error(data: bytes) -> None:
    for decode in (GeoFiles(lambda _: data).sites, GeoFiles(lambda _: data).networks):
        with pytest.raises(ValueError, match=r"damaged|has no list"):
            decode("f", "no such list")
    for function in (decode_networks, decode_sites):
        _ = accepts(function, memoryview(data))


def accepts(function: Callable[[memoryview], object], data: memoryview) -> bool:
    try:
        function(data)
    except ValueError:
        return False
    return True


@given(st.integers(0, (1 << 63) - 1))
def test_numbers_of_all_sizes(number: int) -> None:
    data = sized(1, numeric(3, number) + sized(1, b"N"))
    assert list_names(data) == ["N"]


@given(
    st.dictionaries(
        st.text("ABC-!", min_size=1, max_size=9),
        st.lists(
            st.builds(
                "{}:{}{}".format,
                st.sampled_from(["keyword", "domain", "full", "regexp"]),
                st.text("abc.\u00e9", min_size=1, max_size=300),
                st.sampled_from(["", "@ads", "@a@b"]),
            ),
            max_size=4,
        ),
        max_size=4,
    )
)
def test_the_reader_reads_what_the_test_writer_writes(lists: dict[str, list[str]]) -> None:
    geo = GeoFiles(lambda _: write_geosite(lists))
    for name, entries in lists.items():
        found = [
            f"{site.kind.name.lower()}:{site.value}"
            + "".join(f"@{each}" for each in sorted(site.attributes))
            for site in geo.sites("f", name)
        ]
        assert found == entries


# Other people's readers and files ----------------------------------------------------------------

V2RAY = shutil.which("v2ray")


@pytest.mark.skipif(V2RAY is None, reason="v2ray is not installed")
@pytest.mark.parametrize(
    ("country", "list_name", "ok"), [("cn", "google@ads", True), ("xx", "cn", False)]
)
def test_v2ray_reads_what_the_writer_writes(
    tmp_path: Path, country: str, list_name: str, ok: bool
) -> None:
    """So the writer, and with it the reader, speak the format and not a dialect of their own."""
    assert V2RAY is not None
    for name, data in BOTH.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "outbounds": [{"protocol": "freedom", "tag": "direct"}],
                "routing": {
                    "rules": [
                        {"type": "field", "outboundTag": "direct", "ip": [f"geoip:{country}"]},
                        {
                            "type": "field",
                            "outboundTag": "direct",
                            "domain": [f"geosite:{list_name}"],
                        },
                    ]
                },
            }
        )
    )
    done = subprocess.run(
        [V2RAY, "-test", "-config", str(tmp_path / "config.json")],
        env={**os.environ, "V2RAY_LOCATION_ASSET": str(tmp_path)},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode == 0) is ok, done.stdout.decode() + done.stderr.decode()


def load_installed(name: str) -> bytes:
    try:
        return Assets().load(name)
    except FileNotFoundError:
        pytest.skip(f"{name} is not installed")


def test_the_installed_geoip_file() -> None:
    data = load_installed("geoip.dat")
    assert "CN" in list_names(data)
    cn = AddressMatcher(["geoip:cn"], GeoFiles(lambda _: data))
    assert cn.matches(ipaddress.ip_address("114.114.114.114"))
    assert not cn.matches(ipaddress.ip_address("8.8.8.8"))


def test_the_installed_geosite_file() -> None:
    data = load_installed("geosite.dat")
    cn = DomainMatcher(["geosite:cn"], GeoFiles(lambda _: data))
    assert cn.matches("www.baidu.com")
    assert not cn.matches("www.google.com")
    for name in list_names(data):
        DomainMatcher([f"geosite:{name}"], GeoFiles(lambda _: data))
