# SPDX-License-Identifier: GPL-2.0-or-later
"""The outages as an SVG picture: a dot for each run on a logarithmic axis, a bar at the median.

Pure: rows in, text out. Used by failover.
"""

import math
from xml.sax.saxutils import escape

from report import median, number

WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 920, 270, 30, 26, 60, 50
COLORS = {"clusterd": "#0b6e4f", "keepalived": "#c05000", "pacemaker": "#3050a0"}


def text(x, y, words, **more):
	attributes = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in more.items())
	return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(words)}</text>'


def axis(low, high, scale, height):
	parts = []
	for power in range(low, high + 1):
		x = scale(10 ** power)
		label = f"{10 ** power:g} ms" if power < 3 else f"{10 ** (power - 3):g} s"
		parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - BOTTOM + 6}" '
			'stroke="#ccc"/>')
		parts.append(text(x, height - BOTTOM + 24, label, text_anchor="middle"))
	return parts


def one_row(row, y, scale):
	color = COLORS.get(row.group.split()[0], "#555")
	parts = [text(LEFT - 12, y + 4, f"{row.group}, {row.what}", text_anchor="end")]
	for value in row.values:
		parts.append(f'<circle cx="{scale(value):.1f}" cy="{y}" r="4" fill="{color}" '
			'fill-opacity="0.45"/>')
	middle = median(row.values)
	x = scale(middle)
	parts.append(f'<line x1="{x:.1f}" y1="{y - 9}" x2="{x:.1f}" y2="{y + 9}" stroke="{color}" '
		'stroke-width="3"/>')
	parts.append(text(x, y - 11, f"{number(middle)}", text_anchor="middle", font_size="10",
		fill=color))
	return parts


def svg(rows, title):
	rows = [row for row in rows if row.unit == "ms" and row.values]
	values = [value for row in rows for value in row.values if value > 0] or [1]
	low = math.floor(math.log10(min(values)))
	high = max(low + 1, math.ceil(math.log10(max(values))))
	height = TOP + ROW * len(rows) + BOTTOM

	def scale(value):
		share = (math.log10(max(value, 10 ** low)) - low) / (high - low)
		return LEFT + share * (WIDTH - LEFT - RIGHT)

	parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
		'font-family="sans-serif" font-size="12">',
		'<rect width="100%" height="100%" fill="white"/>',
		text(WIDTH / 2, 22, title, text_anchor="middle", font_size="15"),
		*axis(low, high, scale, height)]
	for i, row in enumerate(rows):
		parts += one_row(row, TOP + ROW * i + 14, scale)
	parts.append("</svg>")
	return "\n".join(parts) + "\n"
