"""Run a stage: outputs published whole or not at all, one line on stderr if it fails, nothing left behind."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from pipeline.codegen.dvc_yaml import NODES
from pipeline.errors import InputError, PipelineError
from pipeline.runtime.run_stage import explain_disk_errors
from pipeline.tables.contracts import DROPPED
from pipeline.tables.table_files import read_table
from tests.support.processes import is_alive, wait_until_gone
from tests.support.running import ROOT, edit_params, run_stages
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="uses /proc and Linux's signals")

STAGE = """
import os, signal, sys, time
from pathlib import Path
from pipeline.errors import PipelineError
from pipeline.runtime.executor import run_tasks
from pipeline.tables.drops import Drop, Outcome, Reason, check_drop_share
from pipeline.runtime.run_stage import run_stage
from pipeline.runtime.sandbox.worker_pool import warm_up_pool
from pipeline.tables.database import open_database
from pipeline.tables.dropped_rows import DroppedRows
from slow_library import prepare

def sleep(number):
    Path(f"worker-{os.getpid()}").touch()
    time.sleep(600)

def step(stage):
    folder = stage.workspace.work / "3_cleaned"
    folder.mkdir()
    (folder / "half").write_text("half")
    Path("at-work").touch()
    match sys.argv[1]:
        case "end":
            (folder / "half").rename(folder / "whole")
        case "label":
            return Outcome("item", 2, 2, notes=["labels: \\x1b[2Jbell\\nclean  in 9"])
        case "refuse":
            raise PipelineError("no items came in")
        case "fault":
            return 1 / 0
        case "drop":
            with open_database(stage.workspace.work, stage.workspace.run) as database:
                dropped = DroppedRows(database, "clean", "item")
                dropped.add([Drop("a", Reason.FLAT, "all grey")])
                counts = dropped.write(folder)
            check_drop_share(Outcome("item", 1, 0, counts), 0.5, "clean.max_dropped")
        case "fill":
            (folder / "large").write_bytes(bytes(3 << 20))
        case "sleep":
            time.sleep(600)
        case "warm up":
            warm_up_pool(stage.workspace.run, prepare)
            while not Path("preparing").exists():
                time.sleep(0.01)
            if "refuse" in sys.argv:
                raise PipelineError("no items came in")
            time.sleep(600)
        case "workers":
            list(run_tasks(sleep, [0, 1], stage.workspace.run))
    return Outcome("item", 2, 2)

if __name__ == "__main__":
    # A background job ignores Ctrl-C, and so does what it starts.
    signal.signal(signal.SIGINT, signal.SIG_IGN if "background" in sys.argv else signal.default_int_handler)
    sys.exit(run_stage("clean", ["3_cleaned"], step))
"""

SLOW_LIBRARY = """
import time
from pathlib import Path

def prepare():
    Path("preparing").touch()
    time.sleep(1)  # the stage ends meanwhile
    Path("prepared").touch()
"""

PARENT = """
import subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=[600], daemon=True).start()
subprocess.run([sys.executable, "stage.py", "sleep"])
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with params and a stage that does what its argument says."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    (tmp_path / "stage.py").write_text(STAGE, encoding="utf-8")
    (tmp_path / "slow_library.py").write_text(SLOW_LIBRARY, encoding="utf-8")
    return tmp_path


@contextmanager
def start(checkout: Path, *command: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a command in a process group of its own, in the checkout; kill what is left of it at the end."""
    process = subprocess.Popen(
        command,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def start_stage(checkout: Path, *arguments: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    return start(checkout, sys.executable, "stage.py", *arguments)


def run_stage(checkout: Path, *arguments: str) -> tuple[int, str, str]:
    """Its exit status, and what it said on stdout and on stderr."""
    with start_stage(checkout, *arguments) as process:
        said, complaint = process.communicate(timeout=120)
    return process.returncode, said, complaint


def wait_for_work(checkout: Path) -> None:
    wait_for((checkout / "at-work").exists)


def list_work(checkout: Path) -> list[str]:
    return [path.name for path in (checkout / ".cache/work").iterdir()]


def list_data(checkout: Path) -> list[str]:
    return sorted(str(path.relative_to(checkout / "data")) for path in (checkout / "data").rglob("*"))


def test_a_stage_that_succeeds_is_published(checkout: Path) -> None:
    status, said, complaint = run_stage(checkout, "end")
    assert (status, complaint) == (0, "")
    assert said.startswith("clean    in 2 = kept 2 + dropped 0; ")
    assert said.endswith(" items/s\n")
    assert list_data(checkout) == [".lock", "3_cleaned", "3_cleaned/whole"]
    assert list_work(checkout) == []


def test_labels_cannot_control_the_terminal(checkout: Path) -> None:
    _, said, _ = run_stage(checkout, "label")
    assert said.splitlines()[1:] == [r"         labels: \x1b[2Jbell\nclean  in 9"]


def test_an_error_is_one_line_and_changes_nothing(checkout: Path) -> None:
    run_stage(checkout, "end")
    assert run_stage(checkout, "refuse") == (1, "", "clean: no items came in\n")
    assert list_data(checkout) == [".lock", "3_cleaned", "3_cleaned/whole"]
    assert list_work(checkout) == []


def test_wrong_params_stop_before_any_work(checkout: Path) -> None:
    params = checkout / "params.yaml"
    params.write_text(
        params.read_text(encoding="utf-8").replace("max_dropped: 0.5", "max_droped: 0.5"), encoding="utf-8"
    )
    status, said, complaint = run_stage(checkout, "end")
    assert (status, said) == (1, "")
    assert complaint.startswith("clean: params.yaml: ")
    assert "did you mean" in complaint
    assert not (checkout / "at-work").exists()


def test_a_fault_of_this_project_keeps_its_traceback(checkout: Path) -> None:
    status, said, complaint = run_stage(checkout, "fault")
    assert (status, said) == (1, "")
    assert complaint.startswith("Traceback ")
    assert complaint.endswith("ZeroDivisionError: division by zero\n")
    assert list_work(checkout) == []


def test_the_rows_of_too_many_drops_are_saved(checkout: Path) -> None:
    status, _, complaint = run_stage(checkout, "drop")
    assert status == 1
    (rows,) = (checkout / ".cache/dropped").iterdir()
    assert complaint.startswith("clean: clean.max_dropped is 0.5, but 1 of 1 items (100%) would be dropped: 1 flat. ")
    assert complaint.endswith(f"are in {rows.relative_to(checkout)}\n")
    assert [row["key"] for row in read_table(rows, DROPPED)] == ["a"]
    assert run_stage(checkout, "end")[0] == 0
    assert not rows.exists()


def test_a_full_disk_is_one_line_and_leaves_no_file(checkout: Path) -> None:
    """By a limit on the size of files, which fails as a full disk does: when an open file is written to."""
    limited = "ulimit -f 2048 && exec " + shlex.join([sys.executable, "stage.py", "fill"])
    with start(checkout, "sh", "-c", limited) as process:
        _, complaint = process.communicate(timeout=120)
    assert process.returncode == 1
    assert (
        complaint
        == "clean: .cache: File too large; the file system, or `ulimit -f`, allows no larger files, then run it again\n"
    )
    assert list_data(checkout) == [".lock"]
    assert list_work(checkout) == []
    assert run_stage(checkout, "fill")[0] == 0
    assert (checkout / "data/3_cleaned/large").stat().st_size == 3 << 20


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number), "data/items.tar")


def refuse_a_worker(number: int) -> PipelineError:
    error = PipelineError("extract_shard of train-000000.tar failed")
    error.__cause__ = refuse(number)
    return error


def refuse_several(number: int) -> ExceptionGroup:
    return ExceptionGroup("two tasks failed", [ExceptionGroup("one", [refuse(number)]), ValueError()])


@pytest.mark.parametrize("make_error", [refuse, refuse_a_worker, refuse_several])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_errors_of_the_disk_are_explained(number: int, make_error: Callable[[int], Exception]) -> None:
    expected = rf"^data/items\.tar: {os.strerror(number)}; .*, then run it again$"
    with pytest.raises(PipelineError, match=expected), explain_disk_errors(Path("folder")):
        raise make_error(number)


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.EBADF, "ours"), InputError("x"), ExceptionGroup("x", [ValueError("y")])]
)
def test_other_errors_are_left_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explain_disk_errors(Path("folder")):
        raise error
    assert caught.value is error


@pytest.fixture
def two_workers(checkout: Path) -> Path:
    """The same with workers, for which `warm_up_pool` starts a process."""
    params = checkout / "params.yaml"
    blocks = yaml.safe_load(params.read_text(encoding="utf-8"))
    blocks["run"] = {**(blocks.get("run") or {}), "workers": 2}
    params.write_text(yaml.safe_dump(blocks), encoding="utf-8")
    return checkout


def test_an_error_while_processes_are_prepared_is_one_line(two_workers: Path) -> None:
    assert run_stage(two_workers, "warm up", "refuse") == (1, "", "clean: no items came in\n")
    assert (two_workers / "prepared").exists()  # stderr is closed when the prepared process has ended too


def test_an_interrupt_while_processes_are_prepared_is_one_line(two_workers: Path) -> None:
    """Sent to the whole process group, as a terminal does."""
    with start_stage(two_workers, "warm up") as process:
        wait_for((two_workers / "preparing").exists)
        os.killpg(process.pid, signal.SIGINT)
        said, complaint = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, "")
    assert complaint == "clean: interrupted; `dvc repro` continues after the last finished stage\n"


@pytest.mark.parametrize("name", [node.name for node in NODES[2:]])
def test_a_stage_without_its_input_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        run_stages(edit_params(), tmp_path, until=name, since=name)
    assert re.fullmatch(r"[^\n]+dvc repro[^\n]+", str(caught.value))


def test_a_stage_without_its_input_prints_one_line(two_workers: Path) -> None:
    """Extract has begun to load its libraries in another process."""
    with start(two_workers, sys.executable, "-m", "stages.extract") as process:
        said, complaint = process.communicate(timeout=120)
    assert (process.returncode, said) == (1, "")
    assert re.fullmatch(r"extract: [^\n]+dvc repro[^\n]+\n", complaint), complaint


def test_a_wrong_key_of_params_is_one_line(two_workers: Path) -> None:
    params = two_workers / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("workers: ", "wrokers: "), encoding="utf-8")
    with start(two_workers, sys.executable, "-m", "stages.extract") as process:
        said, complaint = process.communicate(timeout=120)
    assert (process.returncode, said) == (1, "")
    assert re.fullmatch(r"extract: params\.yaml: [^\n]*wrokers[^\n]*\n", complaint), complaint


def test_an_interrupt_while_libraries_are_imported_is_one_line(checkout: Path) -> None:
    (checkout / "stuck.py").write_text("import time, pathlib; pathlib.Path('stuck').touch(); time.sleep(600)")
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "sys.argv = ['-m']; import stages, stuck"  # as Python has it while `-m` imports the stage
    with start(checkout, sys.executable, "-c", program) as process:
        wait_for((checkout / "stuck").exists)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=120)
    assert (process.returncode, complaint) == (-signal.SIGINT, "interrupted before the stage began\n")


@LINUX
@pytest.mark.parametrize("argument", ["sleep", "workers"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_with_one_line(checkout: Path, argument: str, number: signal.Signals) -> None:
    with start_stage(checkout, argument) as process:
        wait_for_work(checkout)
        if argument == "workers":
            wait_for(lambda: len(list(checkout.glob("worker-*"))) == 2)
        for _ in range(2 if number == signal.SIGTERM else 1):  # a parent with threads sends it twice when it is killed
            process.send_signal(number)
        said, complaint = process.communicate(timeout=120)
    word, status = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}[number]
    assert (process.returncode, said) == (status, "")
    assert complaint == f"clean: {word}; `dvc repro` continues after the last finished stage\n"
    assert list_data(checkout) == [".lock"]
    assert list_work(checkout) == []
    workers = [int(path.name.partition("-")[2]) for path in checkout.glob("worker-*")]
    wait_until_gone(workers)


def test_a_background_job_can_be_terminated(checkout: Path) -> None:
    with start_stage(checkout, "sleep", "background") as process:
        wait_for_work(checkout)
        process.terminate()
        _, complaint = process.communicate(timeout=120)
    assert (process.returncode, list_work(checkout)) == (143, [])
    assert complaint.startswith("clean: terminated; ")


@LINUX
@pytest.mark.parametrize("variables", [{"DVC_STAGE": "clean"}, {"DVC_STAGE": ""}], ids=["DVC", "a shell"])
def test_a_stage_ends_with_the_dvc_that_started_it(checkout: Path, variables: dict[str, str]) -> None:
    with start(checkout, sys.executable, "-c", PARENT, **variables) as parent:
        wait_for_work(checkout)
        child = int((checkout / "data/.lock").read_text())
        parent.kill()
        parent.wait()
        if variables["DVC_STAGE"]:
            wait_until_gone([child])
            assert parent.stderr is not None
            assert parent.stderr.read() == "clean: terminated; `dvc repro` continues after the last finished stage\n"
            assert list_work(checkout) == []
        else:
            time.sleep(0.5)  # enough for the kernel's signal, had it been asked for one
            assert is_alive(child)
            os.kill(child, signal.SIGTERM)


def test_a_second_run_names_the_first_and_takes_over_from_the_dead(checkout: Path) -> None:
    with start_stage(checkout, "sleep") as first:
        wait_for_work(checkout)
        status, _, complaint = run_stage(checkout, "end")
        assert (status, complaint) == (1, f"clean: data is in use by process {first.pid}: wait for it to end\n")
        first.kill()
    assert len(list_work(checkout)) == 1
    assert run_stage(checkout, "end")[0] == 0
    assert list_data(checkout) == [".lock", "3_cleaned", "3_cleaned/whole"]
    assert list_work(checkout) == []
