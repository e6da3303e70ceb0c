"""Which master keys seal and open secrets. Apart from what does it, so that reading settings loads no cryptography."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.secrets.references import SecretRef


class SecretsSettings(BaseModel):
    """How secrets are sealed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    master_key: SecretRef | None = Field(
        default=None, description="32 random bytes in base64; default: generated in the data folder."
    )
    master_command: tuple[str, ...] | None = Field(
        default=None,
        description="A program and its arguments that print the master key, such as a KMS or Vault client.",
    )
    previous_master_keys: tuple[SecretRef, ...] = Field(
        default=(), description="Earlier master keys; what they sealed is sealed again in the background."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> "SecretsSettings":
        if self.master_key is not None and self.master_command is not None:
            raise ValueError("give master_key or master_command, not both")
        return self
