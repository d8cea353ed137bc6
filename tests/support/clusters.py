"""Start Dask schedulers and workers as processes of their own on loopback, and create certificates."""

import datetime
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import kill, list_children
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]


@dataclass
class StartedCluster:
    """A scheduler's address, its process, and those of its workers (nannies, each with its worker as a child)."""

    address: str
    scheduler: "subprocess.Popen[bytes]"
    folder: Path
    security: Sequence[str]
    stack: ExitStack
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start_worker(
        self, cwd: Path = ROOT, environment: Mapping[str, str] | None = None, nanny: str = "--no-nanny"
    ) -> "subprocess.Popen[bytes]":
        """Start a worker with one thread in `cwd`, with more environment variables; it takes seconds to register."""
        options = [self.address, "--nthreads", "1", "--local-directory", str(self.folder), nanny, *self.security]
        self.workers.append(self.stack.enter_context(_start("worker", options, self.folder, cwd, environment)))
        return self.workers[-1]

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers have registered since the start."""
        log = self.folder / "worker.log"
        wait_for(lambda: log.exists() and log.read_text().count("Registered to:") >= count)


def kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all its descendants, unless it has ended."""
    if process.poll() is not None:  # its number may be another's by now
        return
    for pid in [*list_children(process.pid), process.pid]:
        kill(pid)
    process.wait()


@contextmanager
def start_cluster(
    folder: Path, workers: int, security: Sequence[str] = (), cwd: Path = ROOT
) -> Iterator[StartedCluster]:
    """Start a scheduler, outside this project's folder, and workers with a thread each, in `cwd`."""
    file = folder / "scheduler.json"
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            _start("scheduler", ["--port", "0", "--scheduler-file", str(file), *security], folder, folder)
        )
        wait_for(lambda: file.exists() and file.read_text())
        address = json.loads(file.read_text())["address"]
        cluster = StartedCluster(address, scheduler, folder, security, stack)
        for _ in range(workers):
            cluster.start_worker(cwd, nanny="--nanny")
        if workers:
            cluster.wait_for_workers(workers)
        yield cluster


@contextmanager
def _start(
    kind: str, options: Sequence[str], folder: Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start `dask scheduler` or `dask worker` in a session of its own; kill what is left of it at the end."""
    command = [
        sys.executable,
        "-m",
        "dask",
        kind,
        "--host",
        "127.0.0.1",
        "--no-dashboard",
        "--dashboard-address",
        "127.0.0.1:0",
        *options,
    ]
    with (folder / f"{kind}.log").open("ab") as log:
        variables = {**os.environ, **(environment or {})}
        process = subprocess.Popen(command, cwd=cwd, env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        kill_tree(process)


def make_certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Create an authority's certificate, a certificate for 127.0.0.1 that it signed, and the latter's key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def sign(subject: str, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("authority")).public_key(key)
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=True)
        builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        return builder.sign(authority, hashes.SHA256())

    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificates = {
        "ca.pem": sign("authority", authority.public_key(), x509.BasicConstraints(ca=True, path_length=None)),
        "cert.pem": sign("worker", own.public_key(), here),
    }
    for file, certificate in certificates.items():
        (folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
