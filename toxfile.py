"""All parts of tox.ini share one environment, which tox would make anew for each part.

It remembers the name of the part that made an environment and starts again under any other name. Here
each part takes the environment over; it is still made anew when Python or the dependencies change.
"""

from tox.plugin import impl
from tox.tox_env.register import ToxEnvRegister


@impl(trylast=True)
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """The runner that would be used (uv's if tox-uv is there), indifferent to names."""

    class Shared(register.runner(register.default_env_runner)):  # type: ignore[misc]
        @staticmethod
        def id() -> str:
            return "shared"

        def _setup_env(self) -> None:
            maker = {"name": self.conf.name, "type": type(self).__name__}
            with self.cache.compare(maker, "ToxEnv"):
                pass  # it is on record as the maker now
            super()._setup_env()

    register.add_run_env(Shared)
    register.default_env_runner = Shared.id()
