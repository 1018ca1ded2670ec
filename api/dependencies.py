"""What routes ask for, by type."""

from typing import Annotated

from fastapi import Depends, Request

from api.readiness import ReadinessCheck
from api.service import InteractionService
from core.orchestrator.application import Application
from core.orchestrator.config import Settings
from core.orchestrator.interactions.erasing import Erasure


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


def _settings(request: Request) -> Settings:
    return _application(request).settings


def _service(request: Request) -> InteractionService:
    service: InteractionService = request.app.state.service
    return service


def _erasure(request: Request) -> Erasure:
    erasure: Erasure = request.app.state.erasure
    return erasure


def _readiness(request: Request) -> ReadinessCheck:
    readiness: ReadinessCheck = request.app.state.readiness
    return readiness


App = Annotated[Application, Depends(_application)]
AppSettings = Annotated[Settings, Depends(_settings)]
Service = Annotated[InteractionService, Depends(_service)]
Eraser = Annotated[Erasure, Depends(_erasure)]
Readiness = Annotated[ReadinessCheck, Depends(_readiness)]
