"""TensorRT's messages go to those that collect them on the thread that calls TensorRT."""

import _thread
import contextvars
import functools
import logging
import threading
import weakref

import pytest

from trtconv import tensorrt as trt
from trtconv.tensorrt.logger import collect_messages, logger, quiet

ERROR, WARNING = trt.ILogger.ERROR, trt.ILogger.WARNING


def report(words):
    logger().log(ERROR, words)


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def on_foreign_thread(severity, words):
    """As a thread of TensorRT's own reports: without Python code that would have called TensorRT."""
    report, done = functools.partial(logger().log, severity, words), threading.Event()
    weakref.finalize(report, done.set)
    _thread.start_new_thread(report, ())
    del report
    done.wait()


def test_messages_stay_in_their_threads():
    there, here = threading.Barrier(2), {}

    def work(name):
        with collect_messages() as messages:
            for _ in range(3):
                there.wait()
                report(name)
            there.wait()
            here[name] = messages.errors()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert here == {"a": ["a"] * 3, "b": ["b"] * 3}


def test_all_collectors_of_a_thread_have_its_messages():
    with collect_messages() as outer:
        with collect_messages() as inner:
            report("both")
        report("outer")
    report("neither")
    assert outer.errors() == ["both", "outer"]
    assert inner.errors() == ["both"]


def test_a_copied_context_collects_for_the_thread_that_it_is_of():
    with collect_messages() as messages:
        in_thread(contextvars.copy_context().run, report, "by a worker")
        in_thread(report, "by another")
    assert messages.errors() == ["by a worker"]


def test_all_that_collect_have_what_nobody_called_for():
    with collect_messages() as messages:
        there = threading.Event()

        def collect():
            with collect_messages() as others:
                on_foreign_thread(ERROR, "anyone's")
            assert others.errors() == ["anyone's"]
            there.set()

        in_thread(collect)
        assert there.is_set()
    assert messages.errors() == ["anyone's"]


@pytest.mark.parametrize(
    "start", [lambda words: in_thread(report, words), lambda words: on_foreign_thread(ERROR, words)]
)
def test_what_nobody_collects_is_logged_as_an_error(start, caplog):
    with caplog.at_level(logging.DEBUG, "trtconv.tensorrt"):
        start("alone")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.ERROR, "alone")]


def test_quiet_is_for_one_thread(caplog):
    with caplog.at_level(logging.DEBUG, "trtconv.tensorrt"), quiet():
        logger().log(WARNING, "here")
        in_thread(logger().log, WARNING, "there")
    levels = {record.getMessage(): record.levelno for record in caplog.records}
    assert levels == {"here": logging.DEBUG, "there": logging.WARNING}


def test_all_threads_have_one_logger():
    found, there = [], threading.Barrier(8)

    def work():
        there.wait()
        found.append(logger())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in found}) == 1
