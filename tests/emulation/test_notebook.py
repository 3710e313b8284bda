"""The notebook of examples/, run in a kernel of its own: real Caffe, and what a reader sees."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import run_kernel
from nbclient import NotebookClient

import pibench

pytestmark = pytest.mark.emulation

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.usefixtures("twin")
def test_the_notebook_of_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    notebook = nbformat.read(ROOT / "examples/your-model.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "what is stored becomes wrong with time"

    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()

    shown = {cell.source: cell.outputs[-1].data for cell in cells if cell.outputs}
    plan = shown["api.plan(model)"]
    assert plan["text/plain"].startswith("<SqueezeNet V1.1: planned peak 97 MiB")
    assert "<svg" in plan["text/html"]
    assert "no-fit" in shown['pibench.check("VGG 16")']["text/html"]
    assert "exit code 0" in shown["gate"]["text/plain"]
    (bisection,) = [data for source, data in shown.items() if "bisect" in source]
    assert "conv1" in bisection["text/plain"]
    (study,) = [data for source, data in shown.items() if "sweep" in source]
    assert study["text/plain"] == "<study: 4 cells: 3 fit, 1 no-fit>"
    assert study["text/html"].count("<tr>") == 5
    assert "within 300 ms" in cells[-1].outputs[0].data["text/plain"]


@pytest.mark.usefixtures("twin")
def test_a_time_of_the_twin_is_not_the_boards() -> None:
    fit = pibench.fits("SqueezeNet V1.1", target="twin", max_ms=300)
    assert fit
    assert fit.how == "run on twin"
    assert "within 300 ms: 130 to 234 ms, predicted for stack" in repr(fit)
    assert "the time of target twin is not the board's" in repr(fit)


@pytest.mark.usefixtures("virt")
def test_a_kernel_is_interrupted_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel has an event loop of its own, and no handler of pibench's for signals."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    run = "import pibench; (done,) = pibench.run('SqueezeNet V1.1', target='vm'); print(done)"
    with run_kernel(cwd=str(tmp_path)) as started:
        assert isinstance(started, BlockingKernelClient)
        client = started
        kernel = psutil.Process(client.parent.provisioner.pid)

        def machines() -> list[psutil.Process]:
            children = kernel.children(recursive=True)
            return [one for one in children if one.name().startswith("qemu-system")]

        # Without this the kernel may also abort what is asked right after the failed request.
        asked = client.execute(run, stop_on_error=False)
        end = time.monotonic() + 60
        while not machines():
            assert time.monotonic() < end, "no machine was started"
            time.sleep(0.1)
        client.parent.interrupt_kernel()
        answer = {"parent_header": {}}
        while answer["parent_header"].get("msg_id") != asked:
            answer = client.get_shell_msg(timeout=60)
        assert answer["content"]["ename"] == "KeyboardInterrupt"
        assert machines() == []
        shown: list[str] = []
        reply = client.execute_interactive(
            run, timeout=120, output_hook=lambda one: shown.append(one["content"].get("text", ""))
        )
    assert reply["content"]["status"] == "ok"
    assert "<SqueezeNet V1.1, vm, caffe-time: fit on rpi3b, peak " in "".join(shown)
