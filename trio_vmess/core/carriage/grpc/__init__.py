"""The messages of gRPC that carry a stream of bytes."""

from trio_vmess.core.carriage.grpc.messages import MessageReader, encode_messages

__all__ = ["MessageReader", "encode_messages"]
