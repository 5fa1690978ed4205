"""Completion of commands and options, in a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = r"""
eval "$(third-thursday --show-completion bash)"
complete_words() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
  $(complete -p third-thursday | sed 's/.*-F \([^ ]*\).*/\1/') third-thursday "${@: -1}" "${@: -2:1}"
  echo "${COMPREPLY[@]}"
}
"""


COMPLETED = {
    "se": "setup serve",
    "mem": "members",
    "members ad": "add",
    "migrate --no": "--no-backup",
    "notice res": "resend-missed",
    "plan --zo": "--zones",
    "nothing": "",
}


@pytest.mark.proof
@pytest.mark.short
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    if not (bash := shutil.which("bash")):
        pytest.skip("bash is missing")
    lines = [f"complete_words third-thursday {words}" for words in COMPLETED]
    done = subprocess.run(
        [bash, "--norc", "-c", "\n".join([SCRIPT, *lines])],
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    assert dict(zip(COMPLETED, done.stdout.splitlines(), strict=True)) == COMPLETED
    assert list(tmp_path.iterdir()) == []
