"""The style sheet of HTML pages: light and dark, from a phone's width on, and on paper."""

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1c1f23; --quiet: #5a6370; --rule: #d8dde3;
  --raised: #f5f7f9; --link: #0b5cad; --stress: #e6f3ea; --warn: #fff4d6; --warn-rule: #c98a00;
  --c0: #1f6fb4; --c1: #c2410c; --c2: #2f855a; --c3: #8b3fb0; --c4: #b7791f; --c5: #0e7490; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --ink: #e4e7ea; --quiet: #9aa5b1; --rule: #343b43; --raised: #1d2227;
    --link: #7db7f0; --stress: #1c3626; --warn: #3a2e10; --warn-rule: #d9a520;
    --c0: #6cb2f0; --c1: #f59e6c; --c2: #6fcf97; --c3: #cf9cec; --c4: #e6c066; --c5: #5cc8de; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.25rem 1rem 4rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p, ul { margin: .5rem 0; }
.quiet, figcaption, caption { color: var(--quiet); font-size: .9rem; }
.warn { background: var(--warn); border-left: 4px solid var(--warn-rule); list-style: none;
  padding: .6rem .9rem; }
.warn li + li { margin-top: .4rem; }
.grid { display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.grid.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 10rem), 1fr)); }
figure { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff;
  border: 1px solid var(--rule); border-radius: 4px; }
.grid.small img, figure audio { width: 100%; }
.wide { overflow-x: auto; }
.wide img { max-width: none; width: max(100%, 46rem); }
.chart { border: 1px solid var(--rule); border-radius: 6px; padding: .6rem .7rem; }
.chart figcaption { color: var(--ink); font-weight: 600; }
.chart > svg { display: block; width: 100%; height: auto; }
.chart text { fill: var(--quiet); font-size: 13px; }
.chart .end { text-anchor: end; } .chart .middle { text-anchor: middle; }
.chart .grid { stroke: var(--rule); stroke-width: 1; fill: none; display: inline; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.d1 { stroke-dasharray: 6 3; } .d2 { stroke-dasharray: 2 3; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); }
.c3 { stroke: var(--c3); } .c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); }
.legend { list-style: none; padding: 0; margin: .25rem 0 0; font-size: .85rem; display: flex;
  flex-wrap: wrap; gap: .1rem 1rem; }
.key { width: 24px; height: 8px; margin-right: .4rem; vertical-align: middle; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; min-width: min(100%, 30rem); font-size: .92rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; position: sticky; left: 0;
  max-width: min(70rem, calc(100vw - 2rem)); }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: right;
  overflow-wrap: normal; vertical-align: top; }
tbody th, td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.texts td { text-align: left; white-space: normal; min-width: 6rem; max-width: 34rem;
  overflow-wrap: break-word; }
.texts thead th { text-align: left; }
thead th { background: var(--raised); }
tbody th { font-weight: 500; }
.stressed { background: var(--stress); font-weight: 600; }
pre { background: var(--raised); border: 1px solid var(--rule); border-radius: 6px; margin: .5rem 0;
  padding: .7rem .9rem; overflow-x: auto; font: .85rem/1.5 ui-monospace, monospace;
  white-space: pre; overflow-wrap: normal; }
@media (max-width: 40rem) { tbody th:first-child, td:first-child { white-space: normal;
  min-width: 6.5rem; } }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--link); padding: .3rem 0; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
@media print { body { max-width: none; } .chart, figure { break-inside: avoid; } }
"""
