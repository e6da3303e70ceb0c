"""The Open Inference Protocol over gRPC, with Triton's extensions: messages, and the same over HTTP. Pure functions.

Sources: https://github.com/kserve/open-inference-protocol (open_inference_grpc.proto) and Triton's grpc_service.proto.
Tensors travel raw, all or none of a request's; `contents` is read, and never written.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from google.protobuf import json_format

from polyforge.adapters.listeners.oip.protobuf import Messages
from polyforge.dialects import oip, triton_config
from polyforge.dialects.protobuf_schema import Values, read_schema
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Datatype, Parameter, Tensor, pack_strings

SERVICE: Final = "inference.GRPCInferenceService"
HEALTH_SERVICE: Final = "grpc.health.v1.Health"

SCHEMA_TEXT: Final = """
message ServerLiveRequest
message ServerLiveResponse
1 live bool
message ServerReadyRequest
message ServerReadyResponse
1 ready bool
message ModelReadyRequest
1 name string
2 version string
message ModelReadyResponse
1 ready bool
message ServerMetadataRequest
message ServerMetadataResponse
1 name string
2 version string
3 extensions string[]
message ModelMetadataRequest
1 name string
2 version string
message ModelMetadataResponse
1 name string
2 versions string[]
3 platform string
4 inputs TensorMetadata[]
5 outputs TensorMetadata[]
message TensorMetadata
1 name string
2 datatype string
3 shape int64[]

message InferParameter
1 bool_param bool |parameter_choice
2 int64_param int64 |parameter_choice
3 string_param string |parameter_choice
4 double_param double |parameter_choice
5 uint64_param uint64 |parameter_choice
message InferTensorContents
1 bool_contents bool[]
2 int_contents int32[]
3 int64_contents int64[]
4 uint_contents uint32[]
5 uint64_contents uint64[]
6 fp32_contents float[]
7 fp64_contents double[]
8 bytes_contents bytes[]
message ModelInferRequest
1 model_name string
2 model_version string
3 id string
4 parameters InferParameter[string]
5 inputs InferInputTensor[]
6 outputs InferRequestedOutputTensor[]
7 raw_input_contents bytes[]
message InferInputTensor
1 name string
2 datatype string
3 shape int64[]
4 parameters InferParameter[string]
5 contents InferTensorContents
message InferRequestedOutputTensor
1 name string
2 parameters InferParameter[string]
message ModelInferResponse
1 model_name string
2 model_version string
3 id string
4 parameters InferParameter[string]
5 outputs InferOutputTensor[]
6 raw_output_contents bytes[]
message InferOutputTensor
1 name string
2 datatype string
3 shape int64[]
4 parameters InferParameter[string]
5 contents InferTensorContents
message ModelStreamInferResponse
1 error_message string
2 infer_response ModelInferResponse

message ModelConfigRequest
1 name string
2 version string
message ModelConfigResponse
1 config ModelConfig

message ModelStatisticsRequest
1 name string
2 version string
message StatisticDuration
1 count uint64
2 ns uint64
message InferStatistics
1 success StatisticDuration
2 fail StatisticDuration
3 queue StatisticDuration
4 compute_input StatisticDuration
5 compute_infer StatisticDuration
6 compute_output StatisticDuration
7 cache_hit StatisticDuration
8 cache_miss StatisticDuration
message InferResponseStatistics
1 compute_infer StatisticDuration
2 compute_output StatisticDuration
3 success StatisticDuration
4 fail StatisticDuration
5 empty_response StatisticDuration
6 cancel StatisticDuration
message InferBatchStatistics
1 batch_size uint64
2 compute_input StatisticDuration
3 compute_infer StatisticDuration
4 compute_output StatisticDuration
message MemoryUsage
1 type string
2 id int64
3 byte_size uint64
message ModelStatistics
1 name string
2 version string
3 last_inference uint64
4 inference_count uint64
5 execution_count uint64
6 inference_stats InferStatistics
7 batch_stats InferBatchStatistics[]
8 memory_usage MemoryUsage[]
9 response_stats InferResponseStatistics[string]
message ModelStatisticsResponse
1 model_stats ModelStatistics[]

message ModelRepositoryParameter
1 bool_param bool |parameter_choice
2 int64_param int64 |parameter_choice
3 string_param string |parameter_choice
4 bytes_param bytes |parameter_choice
message RepositoryIndexRequest
1 repository_name string
2 ready bool
message RepositoryIndexResponse
1 models ModelIndex[]
message ModelIndex
1 name string
2 version string
3 state string
4 reason string
message RepositoryModelLoadRequest
1 repository_name string
2 model_name string
3 parameters ModelRepositoryParameter[string]
message RepositoryModelLoadResponse
message RepositoryModelUnloadRequest
1 repository_name string
2 model_name string
3 parameters ModelRepositoryParameter[string]
message RepositoryModelUnloadResponse

message SystemSharedMemoryStatusRequest
1 name string
message SystemSharedMemoryStatusResponse
1 regions SystemRegionStatus[string]
message SystemRegionStatus
1 name string
2 key string
3 offset uint64
4 byte_size uint64
message SystemSharedMemoryUnregisterRequest
1 name string
message SystemSharedMemoryUnregisterResponse
message CudaSharedMemoryStatusRequest
1 name string
message CudaSharedMemoryStatusResponse
1 regions CudaRegionStatus[string]
message CudaRegionStatus
1 name string
2 device_id uint64
3 byte_size uint64
message CudaSharedMemoryUnregisterRequest
1 name string
message CudaSharedMemoryUnregisterResponse
"""

HEALTH_SCHEMA_TEXT: Final = """
enum ServingStatus UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN
message HealthCheckRequest
1 service string
message HealthCheckResponse
1 status ServingStatus
"""

MESSAGES: Final = Messages("inference", read_schema(SCHEMA_TEXT), triton_config.SCHEMA)
HEALTH_MESSAGES: Final = Messages("grpc.health.v1", read_schema(HEALTH_SCHEMA_TEXT))

_FINAL: Final = "triton_final_response"
_CONTENTS: Final[dict[Datatype, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def decode_request(message: Any) -> oip.InferRequest:
    """The inference that a ModelInferRequest asks for; Invalid names the field that is wrong."""
    raw: list[bytes] = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise Invalid(
            f"expected {len(message.inputs)} raw input contents, got {len(raw)}: all inputs are raw, or none",
            param="raw_input_contents",
        )
    inputs: dict[str, Tensor] = {}
    for place, given in enumerate(message.inputs):
        where = f"inputs[{place}]"
        if given.name in inputs:
            raise Invalid(f"input '{given.name}' is given twice", param=where)
        inputs[given.name] = _tensor(given, raw[place] if raw else None, where)
    outputs = [(output.name, parameters_of(output.parameters)) for output in message.outputs]
    classes = {name: oip.class_count(name, given, "outputs") for name, given in outputs}
    return oip.InferRequest(
        inputs=inputs,
        id=message.id,
        parameters=parameters_of(message.parameters),
        outputs=dict.fromkeys((name for name, _ in outputs), True),
        binary=True,
        classes={name: count for name, count in classes.items() if count},
    )


def http_request(request: oip.InferRequest) -> oip.Message:
    """The same request as HTTP carries it, its tensors raw, both ways."""
    raw = [memoryview(tensor.data).cast("B") for tensor in request.inputs.values()]
    head: dict[str, Any] = {
        "id": request.id,
        "parameters": {**request.parameters, "binary_data_output": True},
        "inputs": [_described(tensor) for tensor in request.inputs.values()],
        "outputs": [_wanted(name, request.classes.get(name, 0)) for name in request.outputs],
    }
    text = oip.encode_json(head)
    return oip.Message((text, *raw), len(text))


def _described(tensor: Tensor) -> dict[str, Any]:
    size = memoryview(tensor.data).nbytes
    described = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
    return {**described, "parameters": {"binary_data_size": size}}


def _wanted(name: str, classes: int) -> dict[str, Any]:
    parameters: dict[str, Parameter] = {"binary_data": True}
    if classes:
        parameters["classification"] = classes
    return {"name": name, "parameters": parameters}


def infer_response(response: oip.InferResponse) -> Any:
    """The ModelInferResponse of an answer over HTTP."""
    message = MESSAGES["ModelInferResponse"](
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    for tensor in response.outputs.values():
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(bytes(tensor.data))
    return message


def stream_response(response: Any, *, last: bool) -> Any:
    """One answer on a stream, and whether it is known to be the last of its request."""
    response.parameters[_FINAL].bool_param = last
    return MESSAGES["ModelStreamInferResponse"](infer_response=response)


def stream_end(model: str, version: str, request_id: str) -> Any:
    """What tells that no more answers to a request will come."""
    response = MESSAGES["ModelInferResponse"](model_name=model, model_version=version, id=request_id)
    return stream_response(response, last=True)


def stream_error(request_id: str, reason: str) -> Any:
    """What a stream carries instead of an answer; it goes on."""
    response = MESSAGES["ModelInferResponse"](id=request_id)
    return MESSAGES["ModelStreamInferResponse"](error_message=reason, infer_response=response)


def parameters_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by name, each as the type that its sender chose."""
    parameters: dict[str, Any] = {}
    for name, parameter in given.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise Invalid(f"parameter '{name}' has no value", param=f"parameters.{name}")
        parameters[name] = getattr(parameter, choice)
    return parameters


def response_of(name: str, values: Values) -> Any:
    """A message of this name with the fields of a JSON object; those that it has not are left out."""
    return json_format.ParseDict(values, MESSAGES[name](), ignore_unknown_fields=True)


def _tensor(given: Any, raw: bytes | None, where: str) -> Tensor:
    name: str = given.name
    shape = tuple(given.shape)
    try:
        datatype: Datatype = msgspec.convert(given.datatype, Datatype)
    except msgspec.ValidationError as error:
        raise Invalid(f"invalid datatype '{given.datatype}' for input '{name}'", param=where) from error
    if any(extent < 0 for extent in shape):
        raise Invalid(f"input '{name}': shape {list(shape)} has a negative dimension", param=where)
    parameters: Mapping[str, Parameter] = given.parameters
    if "shared_memory_region" in parameters:
        raise Invalid(f"input '{name}': shared memory regions are not supported", param=where)
    if raw is not None and given.HasField("contents"):
        raise Invalid(f"input '{name}' has both contents and raw contents", param=where)
    tensor = Tensor(name, datatype, shape, _packed(given, datatype, where) if raw is None else raw)
    oip.check_data(name, datatype, tensor.count, memoryview(tensor.data), "input", where)
    return tensor


def _packed(given: Any, datatype: Datatype, where: str) -> bytes:
    field = _CONTENTS.get(datatype)
    if field is None:
        raise Invalid(f"input '{given.name}': {datatype} travels as raw contents only", param=where)
    values = list(getattr(given.contents, field))
    if datatype == "BYTES":
        return pack_strings(values)
    try:
        return struct.pack(f"<{len(values)}{oip.STRUCT_CODES[datatype]}", *values)
    except struct.error as error:
        raise Invalid(f"input '{given.name}': a value does not fit {datatype}", param=where) from error
