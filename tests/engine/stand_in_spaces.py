"""A stand-in for Hugging Face's `spaces` package: `GPU` forks and pickles as the real one does.

What it copies of `spaces.zero.wrappers` 0.51: a worker is forked from the thread that iterates, at
the first call; arguments are pickled to it, what the generator yields is pickled back; the task
runs in a new thread of the worker; closing the iterator takes effect at the worker's next yield;
an idle worker is used again; a worker that dies ends the call with a gradio error. What it leaves
out: CUDA, and asking somebody for a GPU.
"""

from __future__ import annotations

import contextlib
import inspect
import multiprocessing
import threading
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any

import gradio as gr

FORK = multiprocessing.get_context("fork")


class Worker:
    """A forked process and the two pipes to it."""

    def __init__(self, task: Callable[..., Generator[Any, None, None]]) -> None:
        self.orders, theirs = FORK.Pipe()
        self.stop = FORK.Event()
        self.process = FORK.Process(target=self._work, args=(task, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that a dead worker is the end of the pipe

    def _work(self, task: Callable[..., Any], pipe: Any) -> None:
        while True:
            try:
                arguments = pipe.recv()
            except (EOFError, OSError):
                return
            self.stop.clear()
            thread = threading.Thread(target=self._iterate, args=(task(*arguments), pipe))
            thread.start()
            thread.join()
            pipe.send(("end", None))

    def _iterate(self, generator: Generator[Any, None, None], pipe: Any) -> None:
        while True:
            try:
                value = next(generator)
            except StopIteration:
                return
            except Exception as error:
                pipe.send(("error", type(error).__name__))
                return
            if self.stop.is_set():
                generator.close()
                return
            pipe.send(("value", value))


class StandIn(ModuleType):
    """To be put into `sys.modules["spaces"]`. Notes forks, durations, contexts and values."""

    def __init__(self, context: Callable[[], Any] = lambda: None) -> None:
        super().__init__("spaces")
        self.workers: list[Worker] = []
        self.idle: list[Worker] = []
        self.durations: list[float] = []
        self.contexts: list[Any] = []
        self.values: list[Any] = []
        self.context = context

    def GPU(self, task: Any = None, *, duration: Any = None) -> Any:
        if task is None:
            return lambda function: self.GPU(function, duration=duration)
        assert inspect.isgeneratorfunction(task), "only generators are stood in for"

        def handler(*arguments: Any) -> Generator[Any, None, None]:
            self.durations.append(duration(*arguments) if callable(duration) else duration)
            self.contexts.append(self.context())
            worker = self.idle.pop() if self.idle else None
            if worker is None or not worker.process.is_alive():
                worker = Worker(task)
                self.workers.append(worker)
            worker.orders.send(arguments)
            try:
                while True:
                    kind, value = worker.orders.recv()
                    if kind == "end":
                        self.idle.append(worker)
                        return
                    if kind == "error":
                        raise gr.Error(value, title="ZeroGPU worker error")
                    self.values.append(value)
                    yield value
            except EOFError:
                raise gr.Error("GPU task aborted", title="ZeroGPU worker error") from None
            except GeneratorExit:
                worker.stop.set()
                with contextlib.suppress(EOFError):  # it died meanwhile
                    while worker.orders.recv()[0] != "end":
                        pass
                    self.idle.append(worker)
                raise

        return handler

    def end(self) -> None:
        """Ends the workers that it started."""
        for worker in self.workers:
            worker.process.terminate()
            worker.process.join(10)
