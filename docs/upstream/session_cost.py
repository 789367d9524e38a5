"""What a new session costs in Gradio, by the number of the page's blocks.

`SessionState.__init__` calls `config_for_block` for every block of the page, on the event loop, for
each new visitor and for each API call without a session. Half of it is `inspect.signature` of the
same few classes. The configurations are read for deep links alone, and stay in memory for the last
10,000 sessions.

Seen with gradio 6.31.0. Milliseconds are of processor time, bytes by tracemalloc.
"""

import time
import tracemalloc
from statistics import median

import gradio as gr
from gradio.state_holder import SessionState


def page(count: int) -> gr.Blocks:
    with gr.Blocks() as demo:
        for k in range(count):
            gr.Textbox(label=str(k))
    return demo


def cost(demo: gr.Blocks) -> tuple[float, float]:
    times = []
    for _ in range(9):
        began = time.process_time()
        SessionState(demo)
        times.append(1e3 * (time.process_time() - began))
    tracemalloc.start()
    kept = SessionState(demo)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return median(times), held / 1e3


if __name__ == "__main__":
    print(f"gradio {gr.__version__}\n\n| blocks | ms a session | kB a session |\n|---|---|---|")
    for name, demo in (
        ("1 text box", page(1)),
        ("100 text boxes", page(100)),
        ("400 text boxes", page(400)),
    ):
        ms, kb = cost(demo)
        print(f"| {name} | {ms:.2f} | {kb:.0f} |")
