"""The shop: a small web application that says which revision it is. Standard library only.

`python3 app.py ADDRESS PORT`; its catalogue lives in ../../shared/data, so that releases share it.
"""

import html
import json
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
REVISION = (HERE / "REVISION").read_text().strip() if (HERE / "REVISION").exists() else "development"
VERSION = "1"
DATABASE = HERE / "data" / "shop.db"
GOODS = ["lantern", "rope", "ladder"]


def open_catalogue():
    DATABASE.parent.mkdir(exist_ok=True)
    catalogue = sqlite3.connect(DATABASE)
    catalogue.execute("CREATE TABLE IF NOT EXISTS item (name TEXT PRIMARY KEY, sold INTEGER NOT NULL DEFAULT 0)")
    catalogue.executemany("INSERT OR IGNORE INTO item (name) VALUES (?)", [(name,) for name in GOODS])
    catalogue.commit()
    return catalogue


class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            return self.answer("application/json", json.dumps({"revision": REVISION, "version": VERSION}))
        try:
            with open_catalogue() as catalogue:
                rows = catalogue.execute("SELECT name, sold FROM item ORDER BY name").fetchall()
        except sqlite3.Error as error:
            return self.answer("text/plain", f"The catalogue can't be read: {error}", status=500)
        goods = "".join(f"<li>{html.escape(name)} ({sold} sold)" for name, sold in rows)
        return self.answer("text/html", f"<title>Shop</title><h1>Shop, version {VERSION}</h1><ul>{goods}</ul>")

    def answer(self, kind, text, status=200):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    open_catalogue().close()
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Shop).serve_forever()
