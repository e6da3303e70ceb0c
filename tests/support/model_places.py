"""Places of models as their own servers would show them, played by a server of files."""

import json
from hashlib import sha256

from polyforge.adapters.model_sources import hugging_face, mlflow, object_storage
from tests.support.file_server import FileServer

CONTENT = bytes(range(256)) * 20
HASH = sha256(CONTENT).hexdigest()
COMMIT = "a" * 40
TOKEN = "hf_secret"


def hub(server: FileServer, *names: str) -> hugging_face.HuggingFaceSource:
    """A hub with a model of these files, all but one in large-file storage."""
    siblings: list[dict[str, object]] = [
        {
            "rfilename": name,
            "size": len(CONTENT),
            "blobId": "b",
            "lfs": {"size": len(CONTENT), "sha256": HASH, "pointerSize": 1},
        }
        for name in names
    ]
    siblings.append({"rfilename": "config.json", "size": 2, "blobId": "b"})
    info = {"id": "org/name", "sha": COMMIT, "siblings": siblings, "private": False, "downloads": 0, "tags": []}
    for revision in ("main", "v1"):
        server.files[f"/api/models/org/name/revision/{revision}"] = json.dumps(info).encode()
    server.files[f"/org/name/resolve/{COMMIT}/config.json"] = b"{}"
    for name in names:
        server.redirects[f"/org/name/resolve/{COMMIT}/{name}"] = f"http://localhost:{server.port}/storage"
    server.files["/storage"] = CONTENT
    return hugging_face.HuggingFaceSource(
        hugging_face.Settings.model_validate({"endpoint": server.url, "token": TOKEN, "allowed_hosts": ["localhost"]})
    )


def s3_page(*keys: str, following: str = "") -> bytes:
    objects = "".join(
        f"<Contents><Key>{key}</Key><ETag>&quot;e-{number}&quot;</ETag><Size>{len(CONTENT)}</Size></Contents>"
        for number, key in enumerate(keys)
    )
    token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name>{objects}{token}</ListBucketResult>"
    ).encode()


def storage(server: FileServer, *buckets: str) -> object_storage.ObjectStorageSource:
    made = object_storage.Settings.model_validate(
        {
            "region": "eu-central-1",
            "endpoint": server.url,
            "access_key_id": "AKID",
            "secret_access_key": "s3cret",
            "buckets": buckets,
        }
    )
    return object_storage.ObjectStorageSource(made)


def registry(server: FileServer, uri: str = "mlflow-artifacts:/1/models/m-1/artifacts") -> mlflow.MlflowSource:
    """A server with version 3 of `churn`, which `champion` points at."""
    api, proxy = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
    version = json.dumps({"model_version": {"name": "churn", "version": "3", "creation_timestamp": 17}}).encode()
    server.files[f"{api}/registered-models/alias?name=churn&alias=champion"] = version
    server.files[f"{api}/model-versions/get?name=churn&version=3"] = version
    place = json.dumps({"artifact_uri": uri}).encode()
    server.files[f"{api}/model-versions/get-download-uri?name=churn&version=3"] = place
    top = [{"path": "MLmodel", "is_dir": False, "file_size": 2}, {"path": "data", "is_dir": True}]
    server.files[f"{proxy}?path=1%2Fmodels%2Fm-1%2Fartifacts"] = json.dumps({"files": top}).encode()
    below = [{"path": "data/model.onnx", "is_dir": False, "file_size": str(len(CONTENT))}]
    server.files[f"{proxy}?path=1%2Fmodels%2Fm-1%2Fartifacts%2Fdata"] = json.dumps({"files": below}).encode()
    server.files[f"{proxy}/1/models/m-1/artifacts/data/model.onnx"] = CONTENT
    return mlflow.MlflowSource(mlflow.Settings.model_validate({"tracking_uri": server.url, "token": "s3cret"}))


def azure_page(*names: str, following: str = "") -> bytes:
    blobs = "".join(
        f"<Blob><Name>{name}</Name><Properties><Etag>0x{number}</Etag><Content-Length>{len(CONTENT)}</Content-Length>"
        "<Content-Type>a/b</Content-Type></Properties></Blob>"
        for number, name in enumerate(names)
    )
    marker = f"<NextMarker>{following}</NextMarker>"
    text = f"<EnumerationResults><Prefix>m</Prefix><Blobs>{blobs}</Blobs>{marker}</EnumerationResults>"
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?>{text}'.encode()
