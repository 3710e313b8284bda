"""The messages of Caffe's files, as `caffe.proto` defines them: made from its compiled form.

The classes that protobuf makes here are the ones that a generated module would have. Type checkers
read `caffe_pb2.pyi`.
"""

from pathlib import Path

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    Path(__file__).with_name("caffe.binpb").read_bytes()
)
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, __name__, globals())
