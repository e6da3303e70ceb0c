"""The tables of people and their ways in. Secrets that were given out are kept as SHA-256, passwords as Argon2id."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table
from sqlalchemy import UniqueConstraint as Unique

from polyforge.database.columns import HASH_BYTES, hash_column, id_column, name_column, time_column
from polyforge.database.metadata import metadata

EMAIL_LENGTH = 254
"""RFC 5321 section 4.5.3.1.3, without the angle brackets."""

users = Table(
    "users",
    metadata,
    id_column("id", primary_key=True),
    # In lower case.
    Column("email", String(EMAIL_LENGTH), nullable=False, unique=True),
    name_column("name"),
    # Argon2id in PHC form; null for those who come by single sign-on only.
    Column("password", String(200)),
    time_column("verified_at", nullable=True),
    # The sealed secret of the second factor, and the time step that was used last.
    Column("totp", LargeBinary()),
    Column("totp_step", BigInteger, nullable=False),
    # SHA-256 in hexadecimal of the recovery codes that are left.
    Column("recovery", JSON, nullable=False),
    # Operators look after the whole installation.
    Column("operator", Boolean, nullable=False),
    time_column("created_at"),
    time_column("disabled_at", nullable=True),
)

identities = Table(
    "identities",
    metadata,
    Column("issuer", String(500), primary_key=True),
    Column("subject", String(255), primary_key=True),
    id_column("user_id", ForeignKey("users.id")),
    time_column("created_at"),
    Index(None, "user_id"),
)

groups = Table(
    "groups",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    name_column("name"),
    # What the identity provider calls it; its members then follow the provider's word at each sign-in.
    name_column("external", nullable=True),
    time_column("created_at"),
    Unique("organization_id", "name"),
    Index(None, "organization_id", "id"),
)

group_members = Table(
    "group_members",
    metadata,
    id_column("group_id", ForeignKey("groups.id"), primary_key=True),
    id_column("user_id", ForeignKey("users.id"), primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    Index(None, "user_id"),
)

roles = Table(
    "roles",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    name_column("name"),
    Column("permissions", JSON, nullable=False),
    time_column("created_at"),
    Unique("organization_id", "name"),
)

memberships = Table(
    "memberships",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    # Null: in every project of the organization, and in the organization itself.
    id_column("project_id", ForeignKey("projects.id"), nullable=True),
    # `user` or `group`.
    Column("kind", String(8), nullable=False),
    id_column("principal_id"),
    # The name of a built-in role, or of one of the organization's own.
    name_column("role"),
    time_column("created_at"),
    Index(None, "organization_id", "id"),
    Index(None, "principal_id"),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    # Also the client id of OAuth 2.
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    id_column("project_id", ForeignKey("projects.id")),
    name_column("name"),
    name_column("role"),
    hash_column("hash", unique=True),
    time_column("created_at"),
    time_column("disabled_at", nullable=True),
    Index(None, "project_id", "id"),
)

invitations = Table(
    "invitations",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    id_column("project_id", ForeignKey("projects.id"), nullable=True),
    Column("email", String(EMAIL_LENGTH), nullable=False),
    name_column("role"),
    hash_column("hash", unique=True),
    id_column("invited_by"),
    time_column("created_at"),
    time_column("expires_at"),
    time_column("accepted_at", nullable=True),
    time_column("revoked_at", nullable=True),
    Index(None, "organization_id", "id"),
)

sessions = Table(
    "sessions",
    metadata,
    id_column("id", primary_key=True),
    id_column("user_id", ForeignKey("users.id")),
    hash_column("hash", unique=True),
    # The project that the user works in, until another is chosen.
    id_column("project_id", nullable=True),
    time_column("created_at"),
    time_column("seen_at"),
    time_column("expires_at"),
    time_column("ended_at", nullable=True),
    Column("address", String(64), nullable=False),
    Column("agent", String(300), nullable=False),
    Index(None, "user_id", "id"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    id_column("id", primary_key=True),
    # All tokens that came from one sign-in; using one twice ends the family.
    id_column("family"),
    # `user` or `service`.
    Column("kind", String(8), nullable=False),
    id_column("principal_id"),
    id_column("project_id"),
    hash_column("hash", unique=True),
    time_column("created_at"),
    time_column("expires_at"),
    time_column("used_at", nullable=True),
    time_column("ended_at", nullable=True),
    Index(None, "family"),
    Index(None, "principal_id"),
)

links = Table(
    "links",
    metadata,
    # Single-use links: `verify` an address, `reset` a password, `second_factor` of a sign-in under way.
    id_column("id", primary_key=True),
    Column("purpose", String(16), nullable=False),
    id_column("user_id", ForeignKey("users.id")),
    hash_column("hash", unique=True),
    time_column("created_at"),
    time_column("expires_at"),
    time_column("used_at", nullable=True),
    Index(None, "user_id"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    # Also the `kid` of its tokens.
    id_column("id", primary_key=True),
    # Ed25519, raw.
    Column("public", LargeBinary(32), nullable=False),
    Column("sealed", LargeBinary(), nullable=False),
    time_column("created_at"),
    time_column("retired_at", nullable=True),
)

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    # Whose sign-ins: an account or an address of the network, hashed.
    Column("bucket", LargeBinary(HASH_BYTES), primary_key=True),
    Column("failures", Integer, nullable=False),
    # When the count starts again.
    time_column("until"),
    Index(None, "until"),
)

sign_ons = Table(
    "sign_ons",
    metadata,
    # A sign-on at an identity provider that has begun: the SHA-256 of its `state`.
    hash_column("hash", unique=True),
    id_column("id", primary_key=True),
    name_column("provider"),
    Column("nonce", String(64), nullable=False),
    Column("verifier", String(128), nullable=False),
    Column("return_to", String(500), nullable=False),
    time_column("created_at"),
    time_column("expires_at"),
    time_column("used_at", nullable=True),
)
