"""Define the base type of all params, the value types that several blocks use, and the block `run`.

Each block of `params.yaml` has a type beside the step that uses it: frozen, with a default for every key.
`pipeline.config.check_params` reads and checks the file; features are cached by the source of what is here, so messages
and the reading of YAML are kept out.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, create_model, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from pipeline.config.plugins import PATTERN, find_fault, is_plugin

WRONG_KEY = "wrong_key"
"""Type of the errors of `Params.refuse`."""


class Params(BaseModel):
    """Base of every block and of every mapping in one: frozen, no unknown keys, no silent conversion of types.

    Null in place of the mapping (`image:` with nothing behind it) is the mapping of all defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    late_keys: ClassVar[tuple[str, ...]] = ()
    """Keys that came after datasets were made without them: `name_values` leaves them out at their default."""

    def name_values(self) -> dict[str, Any]:
        """Return the values as JSON, such that a dataset is named by them: a key that is new, at a default that changes
        nothing, gives no dataset another name."""
        named = self.model_dump(mode="json")
        for key, field in type(self).model_fields.items():
            value = getattr(self, key)
            if key in self.late_keys and value == field.default:
                del named[key]
            elif isinstance(value, Params):
                named[key] = value.name_values()
        return named

    def refuse(self, key: str, clause: str) -> PydanticCustomError:
        """Return an error for the value of `key`, for a validator of several keys to raise.

        `key` may lead through mappings (`image.pattern`); `clause` says what is allowed: "it must be at most 64".
        """
        value: Any = self
        given = True
        for part in key.split("."):
            if isinstance(value, Params):
                given &= part in value.model_fields_set
            value = getattr(value, part) if isinstance(value, Params) else value.root[part]
        facts = {"key": key, "value": value, "given": given, "clause": clause}
        return PydanticCustomError(WRONG_KEY, "{clause}", facts)

    @model_validator(mode="before")
    @classmethod
    def _fill_null(cls, values: Any) -> Any:
        return {} if values is None else values

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return allow_null(handler(schema), handler)


def allow_null(described: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """Return the JSON Schema of a mapping, changed such that it may be null."""
    handler.resolve_ref_schema(described)["type"] = ["object", "null"]
    return described


Block = TypeVar("Block", bound=Params)


def add_keys(keys: Mapping[str, tuple[Any, Any]]) -> Callable[[type[Block]], type[Block]]:
    """Return a class decorator that adds the keys of a table to a type: each name with its type and `Field`.

    For type checkers the class stays what it is written as, so readers go through a mapping (`params.checks`).
    """

    def add(part: type[Block]) -> type[Block]:
        fields: dict[str, Any] = dict(keys)
        return create_model(part.__name__, __base__=part, __module__=part.__module__, __doc__=part.__doc__, **fields)

    return add


def describe_part(part: type[Params], description: str) -> tuple[type[Params], Any]:
    """Return the type and `Field` of a mapping within a block."""
    return part, Field(default_factory=part, description=description)


Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, 0 to 1."""

Strings = Annotated[tuple[str, ...], Field(strict=False)]
"""A YAML list of strings."""


@dataclass(frozen=True, eq=False)  # tables have no hash, which `OneOf(…) | None` needs
class OneOf:
    """Annotation of a string that must be one of `names`, those of a table: `Annotated[str, OneOf(FUSIONS)]`.

    With `plugins` it may also be a name of the user's own, see `pipeline.config.plugins`.
    """

    names: Iterable[str]
    plugins: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        names = core_schema.literal_schema(list(self.names))
        if not self.plugins:
            return names
        plugin = core_schema.no_info_after_validator_function(_check_plugin, core_schema.str_schema(pattern=PATTERN))
        return core_schema.tagged_union_schema({"<plugin>": plugin, "<name>": names}, _find_tag)


def _find_tag(name: object) -> str:
    return "<plugin>" if is_plugin(name) else "<name>"


def _check_plugin(name: str) -> str:
    if fault := find_fault(name):
        raise PydanticCustomError("wrong_plugin", "{fault}", {"fault": fault})
    return name


PluginName = Annotated[str, Field(pattern=PATTERN), AfterValidator(_check_plugin)]
"""A name of the user's own, where no row of a table would do."""

FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")]
"""A function that can be imported in the folder of the params file: `package.module:function`."""

Size = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?[KMG]i?B$")]
"""A number of bytes with its unit: `512 MB`, `2 GiB`."""


def parse_size(size: str) -> int:
    """Return the number of bytes of a `Size`."""
    number, unit = size.rstrip("KMGiB"), size.lstrip("0123456789. ")
    return int(float(number) * (1024 if "i" in unit else 1000) ** (1 + "KMG".index(unit[0])))


class RunParams(Params):
    """How to run. DVC does not watch this block: nothing here may change a byte of any output."""

    workers: Annotated[int, Field(ge=0, le=1024)] = 2
    """Worker processes on this machine; 0 works in the stage's own process, without Dask. Not used with a `scheduler`
    or a `client`. Default 2: what the smallest machines have."""
    memory: Size = "2 GiB"
    """Memory limit of one worker, for example `2 GiB`; an item that takes more is dropped as `memory`."""
    table_memory: Size = "1 GB"
    """Memory limit of the work on tables, beside the workers; what does not fit goes to the work folder in `cache`."""
    buckets: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Into how many buckets `align` divides the samples, each a task for a worker; 0 plans all in the stage's own
    process. Null: one for each 250,000 items where `scheduler` or `client` is set and there are a million; else 0."""
    item_seconds: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] = 120
    """Seconds for one item; one that takes longer is dropped as `timeout`. Items take milliseconds."""
    allow_machine_drops: bool = False
    """Let a stage succeed though it dropped items as `memory` or `timeout`, which another machine may keep."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers to use: `tcp://127.0.0.1:8786`, or `tls://` on other machines."""
    tls_ca: str | None = None
    """Certificate file of the authority, for a `scheduler` at `tls://`."""
    tls_cert: str | None = None
    """Certificate file of this side, for a `scheduler` at `tls://`."""
    tls_key: str | None = None
    """Key file of this side, for a `scheduler` at `tls://`."""
    client: FunctionName | None = None
    """`module:function`, in place of a `scheduler`: any cluster that Dask can use. Each stage that has tasks calls the
    function without arguments. It returns a context manager that yields a `dask.distributed.Client`, as a `Client` is
    itself; at the end of the stage it is closed, and so is the cluster that the client was made from."""
    wait_for_workers: Annotated[float, Field(ge=0, le=604800, allow_inf_nan=False)] = 300
    """Seconds to wait for a worker of a cluster that has none, at the start of a stage and in the middle; 0 does not
    wait. Default 300: a node of a cloud starts within minutes; a queue may need hours."""
    dashboard: bool = False
    """Serve Dask's dashboard on this machine while a stage runs; needs the package `bokeh`."""
    cache: Annotated[str, Field(min_length=1)] = ".cache"
    """Folder of the item cache and the work folders; ignored by git and DVC."""
    cache_bytes: Annotated[int, Field(ge=0)] = 100_000_000_000
    """Size limit of the item cache between runs; least-recently-used entries are evicted first. Tars and shards of the
    last run count, though they take no space of their own where the file system has hard links."""
    progress: bool = True
    """Draw progress bars where the output is a terminal."""

    @model_validator(mode="after")
    def _check_one_cluster(self) -> Self:
        if self.client is not None and self.scheduler is not None:
            raise self.refuse("client", "it must be null where run.scheduler is set: one of them names the cluster")
        return self
