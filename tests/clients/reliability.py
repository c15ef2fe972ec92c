"""Kills servers in the middle of their work and looks at what is left.

    python reliability.py PATH-OF-NEXTSCALE kills            one server with SQLite, killed ten times
    python reliability.py PATH-OF-NEXTSCALE two POSTGRES     two servers that share a PostgreSQL, one of them killed
    python reliability.py PATH-OF-NEXTSCALE restart POSTGRES DATA-FOLDER   the PostgreSQL is restarted under load

Every job has a seed of its own. At the end each is done once, its image is a whole PNG, and those with the same seed are the same.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PROMPTS = ["red apple", "blue car", "green tree", "yellow star"]


class Server:
    def __init__(self, program, folder, port, store=None):
        self.program, self.folder, self.port, self.store = program, folder, port, store
        self.start()

    def start(self):
        command = [self.program, "serve", "--listen", f"127.0.0.1:{self.port}", "--output", self.folder, "--queue", "1000"]
        if self.store:
            command += ["--store", self.store]
        started = time.time()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.process.stdout.readline()
        return time.time() - started

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, path, body=None, method=None):
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def json(self, path, body=None):
        return json.loads(self.ask(path, body))

    def submit(self, seed):
        body = {"prompt": PROMPTS[seed % len(PROMPTS)], "seed": seed}
        while True:
            try:
                return self.json("/api/generate", body)["id"]
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(1)

    def runs(self):
        runs, before = [], ""
        while True:
            page = self.json(f"/api/runs?limit=200{before}")
            runs += page["runs"]
            if page["next"] is None:
                return runs
            before = f"&before={page['next']}"


def check(server, jobs):
    """Waits until all is done, then looks at every image."""
    while True:
        try:
            runs = {run["id"]: run for run in server.runs()}
        except urllib.error.HTTPError:
            time.sleep(1)
            continue
        states = [runs[job]["state"] for job in jobs]
        if not {"queued", "running"} & set(states):
            break
        time.sleep(0.5)
    assert set(states) == {"done"}, {state: states.count(state) for state in states}
    images = {}
    for job, seed in jobs.items():
        found = runs[job]["images"]
        assert len(found) == 1, found
        image = server.ask(f"/api/runs/{job}/files/{found[0]['file']}")
        assert image.startswith(b"\x89PNG") and image[-8:-4] == b"IEND"
        images.setdefault(seed, set()).add(hashlib.sha256(image).hexdigest())
        files = [name for name in os.listdir(os.path.join(server.folder, job)) if not name.startswith(".")]
        assert sum("scale" not in name for name in files) == 1, files
    assert all(len(of_seed) == 1 for of_seed in images.values())
    print(f"{len(jobs)} jobs, each done once, all images whole")


def kills(program):
    folder = tempfile.mkdtemp()
    server = Server(program, folder, 7871)
    jobs, finished = {}, set()
    for turn in range(10):
        for _ in range(20):
            seed = random.randrange(100)
            jobs[server.submit(seed)] = seed
        time.sleep(random.uniform(0.2, 2.0))
        finished |= {run["id"] for run in server.runs() if run["state"] == "done"}
        server.kill()
        took = server.start()
        still = {run["id"] for run in server.runs() if run["state"] == "done"}
        assert finished <= still, "a finished job is lost"
        print(f"kill {turn + 1}: {len(still)} done, none lost; started again in {took:.2f} s")
    check(server, jobs)
    server.kill()


def two(program, store):
    folder = tempfile.mkdtemp()
    servers = [Server(program, folder, port, store) for port in (7872, 7873)]
    jobs = {}
    for number in range(300):
        jobs[servers[number % 2].submit(number)] = number
    servers[0].kill()
    done = sum(run["state"] == "done" for run in servers[1].runs())
    print(f"one of two servers is killed: {done} jobs are done")
    check(servers[1], jobs)
    servers[1].kill()


def restart(program, store, data):
    folder = tempfile.mkdtemp()
    server = Server(program, folder, 7874, store)
    jobs = {}

    def submit():
        for number in range(100):
            while True:
                try:
                    jobs[server.submit(number)] = number
                    break
                except (urllib.error.URLError, TimeoutError):
                    time.sleep(0.5)
            time.sleep(0.05)

    thread = threading.Thread(target=submit)
    thread.start()
    for _ in range(3):
        time.sleep(1.5)
        subprocess.run(["runuser", "-u", "postgres", "--", "pg_ctl", "-D", data, "-m", "immediate", "restart", "-l", "/dev/null"], check=True, stdout=subprocess.DEVNULL)
        print("PostgreSQL is restarted")
    thread.join()
    check(server, jobs)
    server.kill()


{"kills": kills, "two": two, "restart": restart}[sys.argv[2]](sys.argv[1], *sys.argv[3:])
