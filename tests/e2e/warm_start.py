"""Runs programs as subprocess.run does, but loads each only once where a library is given: see warm_start.cc."""
import os
import pathlib
import subprocess
import tempfile


class Programs:
    """The programs of a folder. library: of warm_start.cc, or None to start a process for every call."""

    def __init__(self, folder, library=None):
        self._folder, self._library, self._waiting = pathlib.Path(folder), library, {}
        self._outputs = tempfile.TemporaryDirectory()

    def run(self, name, *words, cwd=None):
        """A subprocess.CompletedProcess with stdout and stderr as text."""
        words = [str(word) for word in words]
        if not self._library:
            return subprocess.run([self._folder / name, *words], cwd=cwd, capture_output=True, text=True)
        if name not in self._waiting:
            self._waiting[name] = subprocess.Popen([self._folder / name], env=os.environ | {"LD_PRELOAD": self._library},
                                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = self._waiting[name]
        out, err = (pathlib.Path(self._outputs.name) / stream for stream in ("out", "err"))
        parts = b"".join(os.fsencode(part) + b"\0" for part in (cwd or os.getcwd(), out, err, *words))
        process.stdin.write(b"%d\n" % len(parts) + parts)
        process.stdin.flush()
        status = process.stdout.readline()
        assert status, f"{name}: ended with {process.wait()} instead of answering {words}"
        return subprocess.CompletedProcess([name, *words], int(status), out.read_text(), err.read_text())

    def close(self):
        for process in self._waiting.values():
            process.stdin.close()
            process.stdout.close()
            process.wait()
        self._outputs.cleanup()
