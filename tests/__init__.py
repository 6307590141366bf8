"""The tests, as one package, so that every test module may say `from tests.kit...`."""
