"""The names of the encodings that we read, for settings: the encodings themselves are slow to import."""

from typing import Final

JSON: Final = "application/json"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
MEDIA_TYPES: Final = JSON, PROTOBUF
