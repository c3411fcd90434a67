"""Five roles for one database, each with what its part needs and no more; and row-level security."""

from database_handler.operations.roles.names import LOGINS, PARTS, Login, Part, RoleNames
from database_handler.operations.roles.plan import RoleConflict, RolePlan, RoleStatement, plan_roles
from database_handler.operations.roles.roles import RoleConflicts, Roles, RolesCheck, RolesReport

__all__ = [
    "LOGINS",
    "PARTS",
    "Login",
    "Part",
    "RoleConflict",
    "RoleConflicts",
    "RoleNames",
    "RolePlan",
    "RoleStatement",
    "Roles",
    "RolesCheck",
    "RolesReport",
    "plan_roles",
]
