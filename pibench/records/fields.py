"""The types of a record's fields: numbers with their units and limits, and names."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

MOST_VALUES: Final = 2**31 - 1
"""Per blob: Caffe counts them in an int and rejects more (Blob::Reshape, src/caffe/blob.cpp)."""
MOST_AXES: Final = 32
"""Per blob: kMaxBlobAxes in include/caffe/blob.hpp."""
LARGEST_FLOAT32: Final = 3.4028235e38
"""The largest float32 as printed, rounded up."""
LARGEST_INTEGER: Final = 2**63 - 1
"""The limit of a table's integer column, and of most JSON readers."""
LONGEST_MS: Final = 1e12
"""31 years."""

INPUT_SIZE: Final = r"^([^\n]*=)?[0-9]{1,10}(x[0-9]{1,10})*$"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1)]


def unit(unit: str) -> Any:
    """Return a field's unit, as the extra key `unit` of its JSON Schema."""
    return Field(json_schema_extra={"unit": unit})


Whole = Annotated[NonNegativeInt, Field(le=LARGEST_INTEGER)]
Positive = Annotated[PositiveInt, Field(le=LARGEST_INTEGER)]
Bytes = Annotated[Whole, unit("byte")]
SignedBytes = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER), unit("byte")]
Milliseconds = Annotated[NonNegativeFloat, Field(le=LONGEST_MS), unit("ms")]
Seconds = Annotated[NonNegativeFloat, Field(le=LONGEST_MS / 1000), unit("s")]
Count = Annotated[Whole, unit("1")]
Cores = Annotated[PositiveFloat, Field(le=MOST_VALUES), unit("core")]
Batch = Annotated[PositiveInt, Field(le=MOST_VALUES)]
Extreme = Annotated[float, Field(ge=-LARGEST_FLOAT32, le=LARGEST_FLOAT32)]
# An upper bound of a sum over a blob's float32 values, with any signs.
_MOST: Final = MOST_VALUES * LARGEST_FLOAT32
Projection = Annotated[float, Field(ge=-_MOST, le=_MOST)]
Norm = Annotated[NonNegativeFloat, Field(le=_MOST)]


class Frozen(BaseModel):
    """An immutable model that rejects unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
