"""Animations that can be stopped and stepped, and that never start over by themselves."""

import base64
import hashlib
import html
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from dcar_edu.course.frontend import is_live, publish
from dcar_edu.course.picture import image_grid, show, to_picture

LARGEST = 300_000
"""Bytes of an animation in the notebook, at most."""

PLAYER = """<div id="@ID@" style="display:inline-block;background:#fff;color:#000;padding:6px">
<div role="img" aria-label="@ALT@" style="width:@SIDE@px;height:@HIGH@px;
background:url(data:image/webp;base64,@DATA@) 0 0/@WIDE@px @HIGH@px no-repeat"></div>
<div style="margin-top:6px"><button>Play</button> <button>Back</button> <button>Next</button>
<span aria-live="off"></span></div></div>
<script>(function () {
  const box = document.getElementById("@ID@"), picture = box.querySelector("[role=img]");
  const [play, back, next] = box.querySelectorAll("button"), label = box.querySelector("span");
  const labels = @LABELS@;
  let at = 0, timer = null;
  function draw(to) {
    at = Math.max(0, Math.min(labels.length - 1, to));
    picture.style.backgroundPosition = -at * @SIDE@ + "px 0";
    label.textContent = labels[at];
  }
  function stop() { clearInterval(timer); timer = null; play.textContent = "Play"; }
  function start() {
    if (at === labels.length - 1) draw(0);
    play.textContent = "Stop";
    timer = setInterval(function () {
      draw(at + 1);
      if (at === labels.length - 1) stop();
    }, @PAUSE@);
  }
  play.onclick = function () { timer ? stop() : start(); };
  back.onclick = function () { stop(); draw(at - 1); };
  next.onclick = function () { stop(); draw(at + 1); };
  draw(labels.length - 1);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) start();
})();</script>"""


def animate(
    frames: Sequence[Any], *, alt: str, titles: Sequence[str] | None = None, pause: float = 0.6
) -> None:
    """Show pictures one after the other, with buttons to play, stop and step.

    It runs once and stops; with "reduce motion" set on the reader's machine it waits for the
    button. Where nobody can press a button, all frames are shown side by side instead.

    Args:
        frames: pictures of one size, in order.
        alt: what happens in it, in a sentence.
        titles: one for each frame; default "step 1 of 12".
        pause: seconds for each frame, at least 0.35 so that nothing flashes.

    Raises:
        ValueError: no frames, titles that do not fit, a short ``alt``, or too short a pause.
    """
    pictures = [to_picture(frame) for frame in frames]
    count = len(pictures)
    titles = titles or [f"step {place} of {count}" for place in range(1, count + 1)]
    if not pictures or len(titles) != count or pause < 0.35:
        raise ValueError(
            "animate needs frames, one title for each, and a pause of at least 0.35 s (faster "
            f"flashes harm some readers), got {count} frames, {len(titles)} titles, {pause} s."
        )
    if not is_live():
        show(image_grid(pictures, titles, columns=min(6, count)), alt=alt)
        return
    publish({"text/html": player(pictures, alt, titles, pause), "text/plain": f"[film] {alt}"})


def player(pictures: Sequence[Image.Image], alt: str, titles: Sequence[str], pause: float) -> str:
    """Build the HTML of an animation: one strip with all frames, three buttons, a line of text."""
    data, side, high = _strip(pictures)
    parts = {
        "ID": f"film-{hashlib.sha256(data).hexdigest()[:12]}",
        "ALT": html.escape(alt, quote=True),
        "SIDE": str(side),
        "HIGH": str(high),
        "WIDE": str(side * len(pictures)),
        "DATA": base64.b64encode(data).decode(),
        "LABELS": _script_list(titles),
        "PAUSE": str(round(1000 * pause)),
    }
    page = PLAYER
    for name, value in parts.items():
        page = page.replace(f"@{name}@", value)
    return page


def _script_list(titles: Sequence[str]) -> str:
    quoted = (title.replace("\\", "\\\\").replace('"', '\\"') for title in titles)
    return "[" + ", ".join(f'"{title}"' for title in quoted).replace("</", "<\\/") + "]"


def _strip(pictures: Sequence[Image.Image]) -> tuple[bytes, int, int]:
    """All frames in one WebP, as large as the limit allows; its bytes and a frame's size."""
    first = pictures[0]
    for side in (256, 192, 128, 96, 64):
        size = (side, max(1, round(side * first.height / first.width)))
        strip = Image.new("RGB", (side * len(pictures), size[1]), "white")
        for place, picture in enumerate(pictures):
            strip.paste(picture.resize(size, Image.Resampling.BICUBIC), (place * side, 0))
        buffer = io.BytesIO()
        strip.save(buffer, format="WEBP", quality=85)
        if len(buffer.getvalue()) * 4 / 3 < LARGEST - 4_000:
            break
    return buffer.getvalue(), size[0], size[1]
