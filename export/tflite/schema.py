"""The words of the TFLite flatbuffer schema, translated: element types, builtin names, options tables.

Together with ``reader.py`` and ``writer.py`` the only place that knows the schema, which comes from the installed
LiteRT package.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from . import options as tables
from .graph import opaque_dtype
from .options import Options, UnreadOptions

_NUMPY = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "FLOAT64": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
    "COMPLEX64": np.complex64,
    "COMPLEX128": np.complex128,
}


def _constants(table: type) -> dict[str, int]:
    return {name: value for name, value in vars(table).items() if isinstance(value, int)}


DTYPE_OF: dict[int, np.dtype[Any]] = {
    code: np.dtype(_NUMPY[name]) if name in _NUMPY else opaque_dtype(name)
    for name, code in _constants(schema.TensorType).items()
}
TYPE_OF = {dtype: code for code, dtype in DTYPE_OF.items()}

BUILTIN_CODE = _constants(schema.BuiltinOperator)
BUILTIN_NAME = {code: name for name, code in BUILTIN_CODE.items()}

_TABLE_NAME = {code: name for name, code in _constants(schema.BuiltinOptions).items() if code}
_TABLE_NAME_2 = {code: name for name, code in _constants(schema.BuiltinOptions2).items() if code}
_TABLE_CODE = {name: code for code, name in _TABLE_NAME.items()}
_TABLE_CODE_2 = {name: code for code, name in _TABLE_NAME_2.items()}
_DECLARED = {cls.__name__: cls for cls in Options.__subclasses__() if cls is not UnreadOptions}


def camel(name: str) -> str:
    """Return the schema's spelling of a field: ``stride_w`` -> ``strideW``."""
    return re.sub(r"_(\w)", lambda match: match.group(1).upper(), name)


def _types_of(cls: type[Options]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, vars(tables))
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


_FIELD_TYPES = {cls: _types_of(cls) for cls in _DECLARED.values()}


def _plain(value: Any, kind: Any) -> Any:
    """Return a schema field as the declared kind: vectors as tuples, enumerations as themselves where known."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return tuple(int(item) for item in value)
    if isinstance(kind, type) and value is not None:
        return kind(value)
    return value


def options_from_schema(kind: int, content: Any, kind_2: int, content_2: Any) -> Options | None:
    """Return an operator's options union (either of the schema's two) as a dataclass; ``ValueError`` if malformed."""
    if content is None and content_2 is None:
        return None
    name, content = (_TABLE_NAME.get(kind), content) if content is not None else (_TABLE_NAME_2.get(kind_2), content_2)
    if name is None:
        return None
    cls = _DECLARED.get(name)
    if cls is None or not _is_fully_declared(cls, content):
        return UnreadOptions(name, content)
    return cls(**{field: _plain(getattr(content, camel(field)), kind) for field, kind in _FIELD_TYPES[cls].items()})


def _is_fully_declared(cls: type[Options], content: Any) -> bool:
    """Whether nothing but defaults stands in the fields that the dataclass does not declare."""
    known = {camel(field) for field in _FIELD_TYPES[cls]}
    blank = vars(type(content)())
    return all(
        name in known or value is None or (np.isscalar(value) and value == blank[name])
        for name, value in vars(content).items()
    )


def options_to_schema(options: Options) -> tuple[str, int, Any]:
    """Return ``("builtinOptions" or "builtinOptions2", its type code, the schema object)``."""
    name = options.table if isinstance(options, UnreadOptions) else type(options).__name__
    if isinstance(options, UnreadOptions):
        content = options.content
    else:
        content = getattr(schema, name + "T")()
        for field in _FIELD_TYPES[type(options)]:
            value = getattr(options, field)
            setattr(content, camel(field), list(value) if isinstance(value, tuple) else value)
    if name in _TABLE_CODE:
        return "builtinOptions", _TABLE_CODE[name], content
    return "builtinOptions2", _TABLE_CODE_2[name], content
