"""Import the function that a key of `params.yaml` names, as `package.module:function`."""

from importlib import import_module
from typing import Any

from pipeline.errors import ParamsError


def load_function(key: str, path: str) -> Any:
    """Return the function at `path`, which the key names.

    Raises:
        ParamsError: there is no such module or function; the message has the key and what to do.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports one that is not
        raise ParamsError(
            f"params.yaml: {key} is {path}, but there is no module {error.name}; "
            "name one that can be imported in the folder of params.yaml, as module:function"
        ) from None
    except AttributeError:
        raise ParamsError(
            f"params.yaml: {key} is {path}, but the module {module} has no {name}; name one of its functions"
        ) from None
