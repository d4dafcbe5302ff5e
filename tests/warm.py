"""A stand-in for ``python -m``: the module runs in a fork of a process that has torch imported.

Imports take most of a short command's time. Each command is a process of its own all the same,
which finds its modules, ours among them, as a new interpreter would.

As a program: ``warm.py SOCKET serve`` is the process that has done the imports; it prints a line
when it is ready, and ends with its standard input. ``warm.py SOCKET MODULE ARGUMENTS`` runs a
module: in the folder and environment and with the standard streams of the caller, to its exit
status. A killed caller takes it along.
"""

import json
import os
import socket
import sys

IMPORTED = ("openvino", "pandas", "scipy.stats", "seaborn", "sklearn.datasets", "snakemake.cli",
            "torch._dynamo")  # fmt: skip


def main(address: str, module: str, *arguments: str) -> None:
    """Serve or run a module."""
    if module == "serve":
        _serve(address)
    else:
        sys.exit(_ask(address, [module, *arguments]))


def _ask(address: str, words: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        folder = os.getcwd()  # noqa: PTH109  # pathlib takes its time
        socket.send_fds(connection, [b"-"], [0, 1, 2])
        connection.sendall(json.dumps([words, folder, dict(os.environ)]).encode() + b"\n")
        return int(connection.recv(16) or b"1")


def _serve(address: str) -> None:
    import importlib
    from contextlib import suppress
    from multiprocessing.connection import wait

    for name in IMPORTED:
        importlib.import_module(name)
    running = {}  # by what is ready when they have ended
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            callers = {caller: process for process, caller in running.values()}
            ready = wait([sys.stdin, listener, *callers, *running])
            if sys.stdin in ready:
                break
            if listener in ready:
                process, caller = _start(listener)
                running[process.sentinel] = process, caller
            for caller in callers.keys() & ready:  # a caller says no more: this is its end
                callers[caller].kill()
            for ended in running.keys() & ready:
                process, caller = running.pop(ended)
                process.join()
                with suppress(BrokenPipeError):
                    caller.sendall(b"%d" % (process.exitcode % 256))
                caller.close()
    for process, _ in running.values():
        process.kill()


def _start(listener: socket.socket):
    """Start the module that the next caller asks for; return its process and the caller."""
    from multiprocessing import get_context

    caller, _ = listener.accept()
    _, streams, _, _ = socket.recv_fds(caller, 1, 3)
    with caller.makefile() as lines:
        request = json.loads(lines.readline())
    process = get_context("fork").Process(target=_run, args=[*request, streams])
    process.start()
    for stream in streams:
        os.close(stream)
    return process, caller


def _run(words: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Do what ``python -m`` does."""
    import runpy

    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    path = environment.get("PYTHONPATH", "")
    sys.path[:1] = [folder, *filter(None, path.split(os.pathsep))]
    sys.executable = environment["WARM_PYTHON"]
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
