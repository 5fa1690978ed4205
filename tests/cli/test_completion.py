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


@pytest.mark.parametrize(
    ("words", "completed"),
    [("mem", "members"), ("migrate --no", "--no-backup"), ("notice res", "resend-missed"), ("nothing", "")],
)
def test_bash_completes_commands_and_options(tmp_path: Path, words: str, completed: str) -> None:
    if not (bash := shutil.which("bash")):
        pytest.skip("bash is missing")
    done = subprocess.run(
        [bash, "--norc", "-c", f"{SCRIPT}complete_words third-thursday {words}"],
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == completed.split()
    assert list(tmp_path.iterdir()) == []
