"""Views whose samples or batches are the results of a user's function."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.collate import collate
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Indices, ReadContext, allocate, resolve_rows
from shardwright.datasets.sample_rng import make_generator
from shardwright.datasets.views import View
from shardwright.errors import FormatError, ShardwrightError
from shardwright.format.field import Field

Function = Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any] | None]
BatchFunction = Callable[[Batch, Sequence[np.random.Generator]], Mapping[str, Any]]
RUN_BYTES = 2 << 20
"""Bytes of samples that are read at a time: a whole batch of decoded images would be written to fresh memory each time,
which took 35 % more CPU time, and small samples are not worth a call each."""
RUN_ROWS = 8
"""Samples that are read at a time where their size is not known."""
MAX_SEARCH = 1000
"""Samples that are tried as a replacement for one that is left out."""


class UserView(View):
    """A view of which nothing is known but what a function returns."""

    def __init__(self, base: SampleSource, function: Callable[..., Any], signature: str) -> None:
        super().__init__(base)
        if not callable(function):
            raise TypeError(f"function is {type(function).__name__}; a transform must be a function {signature}")
        self.transforms = base.transforms + 1
        self.is_mapped, self.is_collated = False, False
        self._function = function

    @property
    def fields(self) -> Mapping[str, Field]:
        """An empty mapping: nothing is known about the results of the function."""
        return {}

    @property
    def names(self) -> None:
        """None: the names are known only after reading."""
        return None

    def check_contents(self, name: str) -> None:
        """Refuse: a function's results are no files.

        Raises:
            FormatError: always.
        """
        SampleSource.check_contents(self, name)

    def __repr__(self) -> str:
        return f"{getattr(self._function, '__name__', type(self._function).__name__)} of {self._base!r}"

    def _make_generator(self, key: str, context: ReadContext) -> np.random.Generator:
        return make_generator(context.seed, context.epoch, key, self.transforms - 1)


class Transformed(UserView):
    """The results of a function for each sample of a source. See `SampleSource.with_transform`."""

    def __init__(self, base: SampleSource, function: Function, skip_none: bool = False) -> None:
        super().__init__(base, function, "(sample, rng) -> dict")
        self._skip_none = skip_none
        self._run_rows: int = base._run_rows if isinstance(base, Transformed) else count_run_rows(base)

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """Return the results of the function for these samples, see `shardwright.datasets.collate`.

        Raises:
            FormatError: the results do not form a batch.
            Exception: see `SampleSource.with_transform` and `SampleSource.gather`.
        """
        rows = resolve_rows(indices, self.count_rows(), self.split)
        return {"key": []} | collate(self._transform(rows, context), context.allocate, len(rows))

    def read_samples(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`; each function of a chain gets the result of the one before."""
        return list(self._transform(resolve_rows(indices, self.count_rows(), self.split), context))

    def _transform(self, rows: NDArray[np.int64], context: ReadContext) -> Iterator[dict[str, Any]]:
        """Yield the requested fields of each result, in order; a few samples are read at a time."""
        names = None if context.fields is None else ("key", *context.fields)
        intact: dict[str, Any] | None = None
        for start in range(0, len(rows), self._run_rows):
            run = rows[start : start + self._run_rows]
            for at, result in enumerate(self._apply_run(run, context, start)):
                if result is None:
                    context.omit(start + at)
                    intact = intact or self._find_intact(int(run[at]), context)
                    result = copy.deepcopy(intact)
                else:
                    intact = result
                yield result if names is None else {name: value for name, value in result.items() if name in names}

    def _apply_run(self, rows: NDArray[np.int64], context: ReadContext, start: int = 0) -> list[dict[str, Any] | None]:
        """Return the results for rows that are read at once; the first is at position `start` of those requested."""
        # All fields are read, since the function may use any; into fresh memory, since it may keep them.
        whole = replace(context, fields=None, allocate=allocate, omit=lambda position: context.omit(start + position))
        samples = self._base.read_samples(rows, whole)
        return [self._apply(sample, row, context) for row, sample in zip(rows.tolist(), samples, strict=True)]

    def _find_intact(self, row: int, context: ReadContext) -> dict[str, Any]:
        """Return the first result after `row` that is not None.

        Raises:
            ShardwrightError: there is none among the next `MAX_SEARCH` samples.
        """
        count = self.count_rows()
        elsewhere = replace(context, files=None, omit=lambda position: None)  # a neighbour may be outside the window
        for step in range(1, min(count, MAX_SEARCH)):
            (result,) = self._apply_run(np.array([(row + step) % count]), elsewhere)
            if result is not None:
                return result
        raise ShardwrightError(
            f"{self!r} returned None for sample {self.find_key(row)!r} and the {min(count, MAX_SEARCH) - 1} samples "
            "after it, so that none can take its place; remove such samples by data.filter or data.take"
        )

    def _apply(self, sample: dict[str, Any], row: int, context: ReadContext) -> dict[str, Any] | None:
        """Return the function's result, with the key first; None if the sample is to be left out."""
        key = sample["key"]
        try:
            result = self._function(sample, self._make_generator(key, context))
            if result is None and self._skip_none:
                return None
            if not isinstance(result, Mapping):
                hint = "; skip_none=True leaves such samples out" if result is None else ""
                raise TypeError(f"the transform returned {type(result).__name__}; it must return a dict{hint}")
            if result.get("key", key) != key:
                raise FormatError(
                    f"the transform changed the key to {result['key']!r}; it must leave the key unchanged"
                )
        except Exception as error:
            shard = self.find_shard(row)
            error.add_note(f"in transform {self!r:.200}, on sample {key!r}" + (f" of shard {shard}" if shard else ""))
            raise
        return {"key": key, **result}

    def _rebase(self, base: SampleSource) -> SampleSource:
        return Transformed(base, self._function, self._skip_none)


class BatchTransformed(UserView):
    """The results of a function for each batch of a source. See `SampleSource.with_batch_transform`."""

    def __init__(self, base: SampleSource, function: BatchFunction) -> None:
        super().__init__(base, function, "(batch, rngs) -> dict")

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """Return the result of the function for these samples.

        Raises:
            Exception: see `SampleSource.with_batch_transform` and `SampleSource.gather`.
        """
        batch = self._base.gather(indices, replace(context, fields=None, allocate=allocate))
        keys: list[str] = list(batch["key"])
        if not keys:
            return {"key": []}
        try:
            result = self._function(batch, [self._make_generator(key, context) for key in keys])
            self._check(result, keys)
        except Exception as error:
            error.add_note(f"in batch transform {self!r:.200}, on samples {keys[0]!r} to {keys[-1]!r}")
            raise
        names = result if context.fields is None else [name for name in context.fields if name in result]
        return {"key": keys} | {name: result[name] for name in names if name != "key"}

    def _check(self, result: Any, keys: list[str]) -> None:
        if not isinstance(result, Mapping):
            raise TypeError(f"the transform returned {type(result).__name__}; it must return a dict")
        if list(result.get("key", keys)) != keys:
            raise FormatError("the transform changed the keys or their order; it must leave them unchanged")
        for name, values in result.items():
            if not hasattr(values, "__len__") or len(values) != len(keys):
                count = len(values) if hasattr(values, "__len__") else type(values).__name__
                raise FormatError(f"{name!r} is {count} for {len(keys)} samples; it must have one value for each")

    def _rebase(self, base: SampleSource) -> SampleSource:
        return BatchTransformed(base, self._function)


def count_run_rows(source: SampleSource) -> int:
    """Return how many samples of a source are read at a time, see `RUN_BYTES`."""
    size = sum(field.nbytes for field in source.fields.values())
    return max(1, RUN_BYTES // size) if size and set(source.names or ("?",)) <= source.fields.keys() else RUN_ROWS
