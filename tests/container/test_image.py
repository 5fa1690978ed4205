"""The image, built as CONTRIBUTING.md says, runs without rights on a read-only root, and its health check passes."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from scheduler import __version__
from tests.chaos.faults import do_as_root
from tests.postgres import free_loopback_port

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[2]
USER = 10001
DATA = "/var/lib/third-thursday"
NAME = "third-thursday-test"
OWN_CGROUPS = ["unshare", "--mount", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"]
"""The start of a command that sees cgroups of version 2 only: crun refuses both versions beside each other."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder on the disk, because images are large, and tests' own folders are in memory."""
    with tempfile.TemporaryDirectory(prefix="third-thursday-", dir="/var/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """An environment in which buildah keeps everything in `folder`; the image is built in it."""
    for program in ("buildah", "mmdebstrap", "crun"):
        do_as_root(program, "--version")
    do_as_root(*OWN_CGROUPS, "true")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n'
    )
    source = folder / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=lambda place, names: {
            name for name in names if name.startswith(".") or (place == str(ROOT) and name in ("var", "site"))
        },
    )
    environment = {
        **os.environ,
        "BUILDAH_ISOLATION": "chroot",
        "STORAGE_DRIVER": "vfs",
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    with (folder / "log").open("wb") as log:
        built = subprocess.run(
            ["bash", "-euxc", build_commands()], cwd=source, env=environment, stdout=log, stderr=log
        )
    assert built.returncode == 0, (folder / "log").read_text()[-3000:]
    return environment


def build_commands() -> str:
    """Return the commands of CONTRIBUTING.md that build the image, without the one that runs it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The container")[2]
    found = re.search(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    commands, _, last = found[1].rpartition("buildah run ")
    assert last
    if not Path("/etc/pip.conf").exists():
        commands = commands.replace(" --volume /etc/pip.conf:/etc/pip.conf:ro", "")
    return commands


def output(environment: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def bundle(folder: Path, root: str, image: dict[str, Any], settings: Mapping[str, str]) -> Path:
    """Write what crun is to run: the image, as a user without rights, on a read-only root and the machine's network."""
    place = folder / "bundle"
    place.mkdir()
    subprocess.run(["crun", "spec"], cwd=place, check=True)
    spec = json.loads((place / "config.json").read_text())
    spec["root"] = {"path": root, "readonly": True}
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": USER, "gid": USER},
        "args": image["Cmd"],
        "cwd": image["WorkingDir"],
        "env": [*image["Env"], *(f"{name}={value}" for name, value in settings.items())],
        "capabilities": {},
        "noNewPrivileges": True,
    }
    (folder / "data").mkdir(mode=0o700)
    os.chown(folder / "data", USER, USER)
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] not in ("cgroup", "sysfs")]
    spec["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},  # noqa: S108 - the container's own
        {"destination": DATA, "type": "bind", "source": str(folder / "data"), "options": ["rbind", "rw"]},
    ]
    spec["linux"].pop("resources", None)
    spec["linux"]["namespaces"] = [
        namespace
        for namespace in spec["linux"]["namespaces"]
        if namespace["type"] not in ("network", "cgroup")
    ]
    (place / "config.json").write_text(json.dumps(spec))
    return place


def test_the_image_serves_as_a_user_without_rights_on_a_read_only_root_and_its_health_check_passes(
    folder: Path, environment: dict[str, str]
) -> None:
    image = json.loads(output(environment, "buildah", "inspect", "--type", "image", "third-thursday"))
    config = image["Docker"]["config"]
    assert config["User"] == "third-thursday" and set(config["Volumes"]) == {DATA}
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    root = output(environment, "buildah", "mount", output(environment, "buildah", "from", "third-thursday"))
    assert f"third-thursday:x:{USER}:" in Path(root, "etc/passwd").read_text()
    settings = {"THIRD_THURSDAY_WEB__PORT": str(free_loopback_port())}
    crun = [*OWN_CGROUPS, "crun", "--cgroup-manager=disabled", "--root", str(folder / "crun")]
    place = bundle(folder, root, config, settings)
    running = subprocess.Popen(
        [*crun, "run", "--bundle", str(place), NAME], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )

    def inside(*command: str, user: int = USER, **changed: str) -> subprocess.CompletedProcess[str]:
        known = dict(variable.split("=", 1) for variable in config["Env"]) | settings | changed
        given = [f"--env={name}={value}" for name, value in known.items()]
        start = [*crun, "exec", f"--user={user}:{user}", *given, NAME]
        return subprocess.run([*start, *command], capture_output=True, text=True, timeout=60)

    assert running.stdout
    try:
        said = b""
        while b"Third Thursday is at http://" not in said:
            line = running.stdout.readline()
            assert line, said.decode()
            said += line
        kind, *health = config["Healthcheck"]["Test"]
        assert kind == "CMD"
        assert inside(*health).returncode == 0
        assert inside(*health, THIRD_THURSDAY_WEB__PORT="1").returncode != 0
        status = inside("cat", "/proc/1/status").stdout
        assert re.search(rf"^Uid:\t{USER}\t{USER}\t{USER}\t{USER}$", status, re.MULTILINE)
        assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE) and "NoNewPrivs:\t1" in status
        assert "Read-only file system" in inside("touch", "/etc/changed", user=0).stderr
        assert inside("third-thursday", "--version").stdout == f"third-thursday {__version__}\n"
        assert (folder / "data" / "var" / "third-thursday.sqlite").stat().st_uid == USER
        subprocess.run([*crun, "kill", NAME, "TERM"], check=True, timeout=60)
        assert running.wait(60) == 0
    finally:
        if running.poll() is None:
            subprocess.run([*crun, "delete", "--force", NAME], timeout=60)
            running.wait(60)
        running.stdout.close()
