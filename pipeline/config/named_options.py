"""Declare a key that is the name of a row of a table, alone or in a mapping with the options of that row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from pipeline.config.params import OneOf, Params
from pipeline.config.plugins import PATTERN

OTHER, NAME = "<other>", "<name>"
"""Tags of a mapping with another name, and of a name alone."""


@dataclass(frozen=True, eq=False)
class NamedOptions:
    """Annotation of options by name: `resnet18`, or `{name: resnet18, freeze: true}`; both give an instance of the
    type of that name.

    Attributes:
        types: by name, each with a key `name` that is this name by default. The first is that of a mapping without a
            name.
        other: of names in `plugins/` and of `untyped` ones, whose options are checked later.
        untyped: names of the table that are not in `types`.
    """

    types: Mapping[str, type[Params]]
    other: type[Params]
    untyped: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the table."""
        return (*self.types, *self.untyped)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        alone = OneOf(self.names, plugins=True).__get_pydantic_core_schema__(source, handler)
        build = core_schema.no_info_plain_validator_function(self._build)
        choices: dict[Any, Any] = {f"<{name}>": handler.generate_schema(kind) for name, kind in self.types.items()}
        choices |= {OTHER: handler.generate_schema(self.other), NAME: core_schema.chain_schema([alone, build])}
        return core_schema.tagged_union_schema(choices, self._find_tag)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        assert schema["type"] == "tagged-union"
        mappings = [handler(choice) for tag, choice in schema["choices"].items() if tag != NAME]
        names = [{"type": "string", "enum": list(self.names)}, {"type": "string", "pattern": PATTERN}]
        return {"anyOf": [*names, *mappings]}  # a name of the table fits the mapping for plugins, too

    @property
    def union(self) -> Any:
        """The type hint of the values."""
        return Union[(*self.types.values(), self.other)]

    def _build(self, name: str) -> Params:
        return self.types.get(name, self.other).model_validate({"name": name})

    def _find_tag(self, value: Any) -> str:
        if isinstance(value, str):
            return NAME
        first = next(iter(self.types))
        name = value.get("name", first) if isinstance(value, Mapping) else getattr(value, "name", first)
        return f"<{name}>" if isinstance(name, str) and name in self.types else OTHER
