from tests.promises.test_migrations_page import *
from tests.promises.test_migrations_page import Walk
import tests.promises.test_migrations_page as P

@pytest.mark.timeout(500)
def test_rewrite(walk):
    text = PAGE.read_text("utf-8")
    replaced = []
    def sql_(code):
        first = code.splitlines()[0].removeprefix("-- ")
        file = walk.folder / "newsroom" / "versions" / f"{first}.sql"
        if first != "typed into psql" and file.exists():
            replaced.append((code, file.read_text()))
        else:
            Walk.sql(walk, code)
    walk.sql = sql_
    walk.text = lambda code: (print("TEXT", walk.said), replaced.append((code, walk.said.split("\n",1)[1])))
    try:
        for b in blocks():
            if b.language == "text": walk.text(b.code); continue
            walk.do(b)
    finally:
        for old, new in replaced:
            text = text.replace("```sql\n"+old+"```", "```sql\n"+new+"```", 1).replace("```text\n"+old+"```", "```text\n"+new+"```", 1)
        rows = "".join(f"| `{n}` | {r.what} | {r.instead} |\n" for n, r in P.RULES.items())
        import re
        text = re.sub(r"(\| rule \| finds \| write instead \|\n\|---\|---\|---\|\n)(\| `.*\n)*", lambda m: m[1]+rows, text)
        PAGE.write_text(text)
