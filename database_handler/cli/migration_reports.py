"""What commands on versions return that no method of the library does."""

from pydantic import BaseModel

__all__ = ["LintRule", "LintRules", "lint_rules"]


class LintRule(BaseModel, frozen=True):
    """A rule: what it is about, and what to write instead."""

    name: str
    why: str
    instead: str


class LintRules(BaseModel, frozen=True):
    """All rules, by their names."""

    rules: tuple[LintRule, ...]


def lint_rules() -> LintRules:
    """Return the rules of the lint."""
    from database_handler.migrations.safety.lint import RULES

    rules = (RULES[name] for name in sorted(RULES))
    return LintRules(rules=tuple(LintRule(name=r.name, why=r.why, instead=r.instead) for r in rules))
