"""The style sheet of report.html: light and dark, narrow screens, print."""

# The colors --s0 to --s7 of curves are based on those of Okabe and Ito, which color-blind people can distinguish
# (https://jfly.uni-koeln.de/color/). Some are darker, so that they are visible on white.
SERIES = 8  # number of colors of curves; with more curves, the colors repeat

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #59636e; --line: #d1d9e0; --paper: #ffffff; --panel:
  #f6f8fa;
  --s0: #0072b2; --s1: #d55e00; --s2: #00785a; --s3: #b0528c; --s4: #8a6d00; --s5: #3b8fc4; --s6: #666666; --s7:
  #7b4fb5;
  --bad: #b3261e; --good: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #9198a1; --line: #3d444d; --paper: #0d1117;
  --panel: #161b22; --s0: #58a6e0; --s1: #ff8c42; --s2: #2fbf9a; --s3: #e29ac4; --s4: #e3c13a; --s5: #9fd3f5; --s6:
  #b0b0b0;
  --s7: #b79af0; --bad: #ff7b72; --good: #3fb950; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 16px 20px 48px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6em; margin: 8px 0 2px; overflow-wrap: anywhere; } h2 { font-size: 1.2em; margin: 32px 0 8px; }
h3 { font-size: 1em; margin: 18px 0 4px; } p { margin: 4px 0 8px; } .faint { color: var(--faint); }
nav { font-size: 0.9em; } nav a { margin-right: 12px; } a { color: var(--s0); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px; margin: 14px 0; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; }
.card b { display: block; font-size: 1.25em; font-variant-numeric: tabular-nums; } .card span { color: var(--faint);
  font-size: 0.85em; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 14px; }
figure { margin: 0; } figcaption { font-size: 0.9em; color: var(--faint); }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--faint); font: 11px sans-serif; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin:
  round; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9em; }
th, td { text-align: left; padding: 3px 10px 3px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td code { overflow-wrap: anywhere; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.92em; }
.bar { display: flex; height: 18px; border-radius: 4px; overflow: hidden; margin: 6px 0; } .bar i { display: block; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px; }
.images { display: flex; flex-wrap: wrap; gap: 10px; } .images figure { width: 96px; font-size: 0.8em; line-height:
  1.3; }
.images img { display: block; width: 96px; height: 96px; object-fit: contain; background: var(--panel); }
.images figcaption { overflow-wrap: anywhere; } img.small { image-rendering: pixelated; } img.inputs { max-width:
  100%; height: auto; }
.cell { text-align: right; } details summary { cursor: pointer; color: var(--s0); } .changed { font-weight: 600; }
.bad { color: var(--bad); }
@media (max-width: 520px) { body { padding: 10px 12px 32px; font-size: 14px; } .cards { grid-template-columns: 1fr
  1fr; } }
@media print { :root { color-scheme: light; --ink: #000; --faint: #444; --line: #bbb; --paper: #fff; --panel: #fff;
  --s0: #0072b2;
  --s1: #d55e00; --s2: #00785a; --s3: #b0528c; --s4: #8a6d00; --s5: #3b8fc4; --s6: #666666; --s7: #7b4fb5; --bad:
  #b3261e; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; } .wide { overflow: visible; }
  figure, tr, .card { break-inside: avoid; } h2, h3 { break-after: avoid; } .curves { grid-template-columns: 1fr
  1fr; } }
"""
