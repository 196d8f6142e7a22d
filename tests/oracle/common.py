"""The program under test, as the oracle tests call it."""

import os
import subprocess

PROGRAM = os.environ["TASKVEC_PROGRAM"]


def taskvec(*arguments, status=0, **options):
    """Runs taskvec to its end and holds it to an exit status; None: whatever it is."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, **options)
    assert status is None or done.returncode == status, f"{arguments}: exit status {done.returncode}\n{done.stderr}"
    return done
