"""Which of its own ways a backend works in: checking a choice, and telling the agent. Pure."""

from typing import Any, NamedTuple

from server.agents.backends import PROFILES
from server.agents.content import as_list, as_object, as_text
from server.agents.policy import Policy, covers
from streams.errors import AgentFailed, BadRequest, Conflict


class Request(NamedTuple):
    """A request to the agent: its method and its parameters."""

    method: str
    params: dict[str, Any]


def choices(backend: str) -> list[dict[str, str]]:
    """The agents that a mission on this backend may name, as clients list them; the backend's usual one comes first."""
    profile = PROFILES[backend]
    return [{"id": mode.id, "name": mode.name} for mode in profile.modes] or [{"id": "default", "name": profile.name}]


def mode_of(backend: str, agent: str | None) -> str | None:
    """The mode to ask the backend for; None where nothing is chosen, or the backend has no modes."""
    profile = PROFILES.get(backend)
    return agent if profile is not None and profile.modes and agent else None


def check(backend: str, agent: str | None, policy: Policy) -> None:
    """Refuse an agent that the backend does not have, or that would do unasked what the policy does not allow.

    Raises BadRequest, listing the choices, or Conflict. A backend without modes takes any name.
    """
    wanted = mode_of(backend, agent)
    if wanted is None:
        return
    modes = PROFILES[backend].modes
    mode = next((mode for mode in modes if mode.id == wanted), None)
    if mode is None:
        names = ", ".join(mode.id for mode in modes)
        raise BadRequest(f"Unknown agent for {backend}: {wanted[:40]}; one of {names}")
    if not covers(policy, mode.needs):
        raise Conflict(
            f"{backend}'s agent {mode.id} acts without asking, which needs the permission_policy {mode.needs}, "
            f"not {policy}; change one of the two first"
        )


def request_for(session: dict[str, Any], session_id: str, wanted: str) -> Request | None:
    """How to bring a session that was just opened into a mode; None when it is in it already.

    AgentFailed, with what there is, when the agent does not offer it: it must not work in another one instead.
    """
    option = _mode_option(session)
    modes = as_object(session.get("modes"))
    values = [as_text(choice.get("value")) for choice in _flat(option.get("options"))]
    ids = [as_text(as_object(mode).get("id")) for mode in as_list(modes.get("availableModes"))]
    if wanted in (option.get("currentValue"), modes.get("currentModeId")):
        return None
    if wanted in values:
        params = {"sessionId": session_id, "configId": option.get("id"), "value": wanted}
        return Request("session/set_config_option", params)
    if wanted in ids:
        return Request("session/set_mode", {"sessionId": session_id, "modeId": wanted})
    offered = ", ".join(dict.fromkeys(filter(None, [*values, *ids]))) or "none"
    raise AgentFailed(f"The agent does not offer the mode {wanted}, but: {offered}. Choose one of them and send again.")


def _mode_option(session: dict[str, Any]) -> dict[str, Any]:
    options = map(as_object, as_list(session.get("configOptions")))
    return next((option for option in options if option.get("category") == "mode"), {})


def _flat(options: Any) -> list[dict[str, Any]]:
    """The choices of an option, which may come in groups."""
    entries = [as_object(entry) for entry in as_list(options)]
    return [choice for entry in entries for choice in (_flat(entry["options"]) if "options" in entry else [entry])]
