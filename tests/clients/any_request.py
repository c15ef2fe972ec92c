"""schemathesis against a running server: what the description of the API allows, and what it does not. No answer has a code of 500.

    python any_request.py http://127.0.0.1:7860 [FOLDER] [CASES-OF-EACH-PATH]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

address, cases = sys.argv[1], (sys.argv[3:] or ["100"])[0]
command = [
    str(Path(sys.executable).parent / "schemathesis"),
    "run",
    f"{address}/openapi.json",
    "--checks=not_a_server_error",
    f"--max-examples={cases}",
    "--phases=examples,coverage,fuzzing",
    # What paints takes time; streams of events end with their run.
    "--request-timeout=60",
    "--seed=1",
]
# It keeps notes where it runs.
with tempfile.TemporaryDirectory() as folder:
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
print("\n".join(result.stdout.splitlines()[-40:]))
if result.returncode:
    sys.exit(result.stderr or "some answers were wrong")
print("ok")
