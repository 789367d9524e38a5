"""The page's look: Gradio's theme variables, and the little style that no variable reaches.

One accent, contrast of at least 4.5 : 1 for text in light and dark (tests/ui/test_axe.py measures
it), compact controls, tabular figures.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import sizes

from dpm_demo.ui.player.component import Player
from dpm_demo.ui.widgets import glossary

# the reader's own fonts: nothing is fetched, and nothing odd is picked for "sans-serif"
FONT = ["system-ui", "Segoe UI", "Roboto", "Liberation Sans", "DejaVu Sans", "sans-serif"]

_QUIET, _QUIET_DARK = "*neutral_600", "*neutral_300"  # captions: 7 : 1 and 9 : 1 on their ground


def theme() -> gr.themes.Base:
    """The theme of every tab."""
    base = gr.themes.Base(
        primary_hue="blue",
        secondary_hue="blue",
        neutral_hue="slate",
        text_size=sizes.text_sm,
        spacing_size=sizes.spacing_sm,
        radius_size=sizes.radius_md,
        font=FONT,
    )
    return base.set(
        body_background_fill="white",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_subdued=_QUIET,
        body_text_color_subdued_dark=_QUIET_DARK,
        color_accent="*primary_700",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        link_text_color_hover="*primary_800",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited="*primary_700",
        link_text_color_visited_dark="*primary_300",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="0px",
        block_padding="*spacing_md",
        block_title_text_color="*neutral_900",
        block_title_text_color_dark="*neutral_100",
        block_title_text_weight="600",
        block_label_text_color="*neutral_800",
        block_info_text_color=_QUIET,
        block_info_text_color_dark=_QUIET_DARK,
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        input_background_fill="white",
        input_border_width="1px",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_600",
        slider_color="*primary_700",
        slider_color_dark="*primary_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_600",
        button_cancel_background_fill="*neutral_100",
        button_cancel_background_fill_dark="*neutral_800",
        button_cancel_text_color="*neutral_900",
        button_cancel_text_color_dark="*neutral_100",
        checkbox_label_text_color="*neutral_900",
        checkbox_label_text_color_dark="*neutral_100",
        checkbox_background_color_selected="*primary_700",
        checkbox_background_color_selected_dark="*primary_600",
        table_text_color="*neutral_900",
        table_text_color_dark="*neutral_100",
    )


#: What is round the page's content; in CSS, Gradio would put each rule inside of that content.
_FRAME = """<style>
@media (max-width: 640px) { .gradio-container > .main { padding: 10px 12px !important; } }
[data-term] { text-decoration: underline dotted 1px; text-underline-offset: 3px; cursor: help;
  font-style: inherit; }
#glossary { position: fixed; z-index: 2000; padding: 4px 0; width: max-content;
  max-width: min(340px, calc(100vw - 16px)); }
#glossary > [role="tooltip"] { padding: 8px 12px; border-radius: 8px; font: 14px/1.4 sans-serif;
  color: white; background: #1e293b; border: 1px solid #64748b; }
</style>"""

_HERE = Path(__file__).parent
#: Scripts for the page's head, each in a scope of its own, and that style.
HEAD = f"{_FRAME}{Player.page_script()}<script>{glossary.table()}</script>" + "".join(
    f"<script>{{\n{(_HERE / name).read_text(encoding='utf-8')}\n}}</script>"
    for name in (
        "widgets/drawn.js",
        "widgets/cleared.js",
        "widgets/glossary.js",
        "mend.js",
        "widgets/run_bar.js",
        "widgets/address.js",
        "widgets/refused.js",
        "widgets/restore.js",
        "widgets/tabs.js",
        "widgets/linked.js",
    )
)

CSS = """
.refused :is(input:not([type="range"]), textarea) {
  border-color: #dc2626 !important; box-shadow: 0 0 0 1px #dc2626 !important; }
.refused-why { margin: 4px 0 0; color: #b91c1c; font-size: 13px; }
.dark .refused-why { color: #fca5a5; }
.dark { --color-accent: var(--primary-300); }
.gradio-container { width: 100%; max-width: 1500px !important; margin: 0 auto !important;
  font-variant-numeric: tabular-nums; }
#page-title .md { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 14px; }
#page-title h1 { font-size: 20px; margin: 0; }
#page-title p { margin: 0; }
/* Tabs stand in one row, which scrolls where it is too narrow for them. */
#tabs > .tab-wrapper { height: auto; margin-bottom: 8px; padding-bottom: 0; }
#tabs > .tab-wrapper > [role="tablist"] { flex-wrap: nowrap; overflow-x: auto;
  scrollbar-width: none; background: none; overscroll-behavior-x: contain; }
#tabs > .tab-wrapper [role="tab"] { flex: none; }
#compare-table [data-lit="true"] > * { background: var(--color-accent-soft) !important;
  box-shadow: inset 0 2px var(--color-accent), inset 0 -2px var(--color-accent); }
/* The button of a tab: one of two in one place, and on a phone it stays. */
.run-bar[data-running="true"] .run-go { display: none; }
.run-bar:not([data-running="true"]) .run-stop { display: none; }
.run-bar[data-changed="true"] .run-go::after { content: "\\00a0· changed, run again";
  font-weight: 400; }
/* Where the keyboard is: Gradio shows it of text and buttons alone. */
input:is([type="checkbox"], [type="radio"], [type="range"]):focus-visible {
  outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }
/* A dial that is narrow keeps the figure at its end in sight. */
.slider_input_container input[type="range"] { min-width: 0; }
/* Without a mouse the buttons of a plot would lie over its legend for good. */
@media (hover: none) { .modebar { display: none !important; } }
.tabitem:has(.run-bar[data-running="true"]) :is([class*="waits-"], [class*="waits-"] button) {
  cursor: not-allowed; }
.result-first { order: -1; }
.estimate { margin: -4px 2px; } .estimate p { font-size: 12px; opacity: 0.8; }
/* a note that is empty is not to be a region that scrolls */
:is(#compare-note, #generate-note, #video-note, #errors-note, .estimate) {
  overflow: visible !important; }
#errors-plot { min-height: 660px; }
#errors-hops { min-height: 300px; }
#errors-note h3 { font-size: 22px; line-height: 1.25; margin: 2px 0 4px; }
#errors-note table { margin: 4px 0 0; }
#errors-note :is(table, tr) { border: 0 !important; }
#errors-note :is(th, td) { border: 0 !important; padding: 1px 18px 1px 0; }
:is(#now-text, #now-note, #now-noise):not(:has(p, progress)) { display: none; }
.board-text p:first-child { font-size: 16px; }
#quality-plot, #now-plot { cursor: pointer; }
#now-note progress { width: min(100%, 420px); accent-color: var(--primary-500); }
.katex-display { overflow-x: auto; overflow-y: hidden; }
figure.forward { margin: 0; } figure.forward img { image-rendering: pixelated; }
@media (max-width: 640px) {
  #page-title p { display: none; }
  .header-cell .cell-menu-button { display: none !important; }
  .header-cell .text { font-size: 12px !important; overflow-wrap: normal !important;
    word-break: normal !important; }
  .run-bar { position: fixed !important; z-index: 30; left: 12px; right: 12px; bottom: 10px;
    width: auto !important; border-radius: 8px; box-shadow: 0 2px 12px rgb(0 0 0 / 35%); }
  footer { padding-bottom: 64px; }
}
"""
