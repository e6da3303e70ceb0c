"""Triton's model configuration (model_config.proto): its fields, read from config.pbtxt or JSON, written as JSON.

The numbers are those of the protocol, so that the same declaration gives the binary form that gRPC carries.
"""

from typing import Any, Final

import msgspec

from polyforge.dialects import protobuf_text
from polyforge.dialects.protobuf_schema import Values, read_schema
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Datatype

ROOT: Final = "ModelConfig"

SCHEMA_TEXT: Final = """
message ModelConfig
1 name string
2 platform string
17 backend string
25 runtime string
3 version_policy ModelVersionPolicy
4 max_batch_size int32
5 input ModelInput[]
6 output ModelOutput[]
20 batch_input BatchInput[]
21 batch_output BatchOutput[]
12 optimization ModelOptimizationPolicy
11 dynamic_batching ModelDynamicBatching |scheduling_choice
13 sequence_batching ModelSequenceBatching |scheduling_choice
15 ensemble_scheduling ModelEnsembling |scheduling_choice
7 instance_group ModelInstanceGroup[]
8 default_model_filename string
9 cc_model_filenames string[string]
10 metric_tags string[string]
14 parameters ModelParameter[string]
16 model_warmup ModelWarmup[]
18 model_operations ModelOperations
19 model_transaction_policy ModelTransactionPolicy
23 model_repository_agents ModelRepositoryAgents
24 response_cache ModelResponseCache
26 model_metrics ModelMetrics

enum DataType TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16 TYPE_INT32
enum DataType TYPE_INT64 TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16
enum Format FORMAT_NONE FORMAT_NHWC FORMAT_NCHW
enum InstanceKind KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL
enum SecondaryDeviceKind KIND_NVDLA
enum BatchInputKind BATCH_ELEMENT_COUNT BATCH_ACCUMULATED_ELEMENT_COUNT BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO
enum BatchInputKind BATCH_MAX_ELEMENT_COUNT_AS_SHAPE BATCH_ITEM_SHAPE BATCH_ITEM_SHAPE_FLATTEN
enum BatchOutputKind BATCH_SCATTER_WITH_INPUT_SHAPE
enum ModelPriority PRIORITY_DEFAULT PRIORITY_MAX PRIORITY_MIN
enum TimeoutAction REJECT DELAY
enum ControlKind CONTROL_SEQUENCE_START CONTROL_SEQUENCE_READY CONTROL_SEQUENCE_END CONTROL_SEQUENCE_CORRID

message ModelVersionPolicy
1 latest VersionsLatest |policy_choice
2 all VersionsAll |policy_choice
3 specific VersionsSpecific |policy_choice
message VersionsLatest
1 num_versions uint32
message VersionsAll
message VersionsSpecific
1 versions int64[]

message ModelTensorReshape
1 shape int64[]
message ModelInput
1 name string
2 data_type DataType
3 format Format
4 dims int64[]
5 reshape ModelTensorReshape
6 is_shape_tensor bool
7 allow_ragged_batch bool
8 optional bool
9 is_non_linear_format_io bool
message ModelOutput
1 name string
2 data_type DataType
3 dims int64[]
5 reshape ModelTensorReshape
4 label_filename string
6 is_shape_tensor bool
7 is_non_linear_format_io bool

message BatchInput
1 kind BatchInputKind
2 target_name string[]
3 data_type DataType
4 source_input string[]
message BatchOutput
1 target_name string[]
2 kind BatchOutputKind
3 source_input string[]

message ModelOptimizationPolicy
1 graph OptimizationGraph
2 priority ModelPriority
3 cuda OptimizationCuda
4 execution_accelerators ExecutionAccelerators
5 input_pinned_memory PinnedMemoryBuffer
6 output_pinned_memory PinnedMemoryBuffer
7 gather_kernel_buffer_threshold uint32
8 eager_batching bool
message OptimizationGraph
1 level int32
message OptimizationCuda
1 graphs bool
2 busy_wait_events bool
3 graph_spec GraphSpec[]
4 output_copy_stream bool
message GraphSpec
1 batch_size int32
2 input GraphShape[string]
3 graph_lower_bound GraphLowerBound
message GraphShape
1 dim int64[]
message GraphLowerBound
1 batch_size int32
2 input GraphShape[string]
message ExecutionAccelerators
1 gpu_execution_accelerator Accelerator[]
2 cpu_execution_accelerator Accelerator[]
message Accelerator
1 name string
2 parameters string[string]
message PinnedMemoryBuffer
1 enable bool

message ModelQueuePolicy
1 timeout_action TimeoutAction
2 default_timeout_microseconds uint64
3 allow_timeout_override bool
4 max_queue_size uint32
message ModelDynamicBatching
1 preferred_batch_size int32[]
2 max_queue_delay_microseconds uint64
3 preserve_ordering bool
4 priority_levels uint64
5 default_priority_level uint64
6 default_queue_policy ModelQueuePolicy
7 priority_queue_policy ModelQueuePolicy[uint64]

message ModelSequenceBatching
3 direct StrategyDirect |strategy_choice
4 oldest StrategyOldest |strategy_choice
1 max_sequence_idle_microseconds uint64
2 control_input ControlInput[]
5 state SequenceState[]
6 iterative_sequence bool
message ControlInput
1 name string
2 control SequenceControl[]
message SequenceControl
1 kind ControlKind
2 int32_false_true int32[]
3 fp32_false_true float[]
5 bool_false_true bool[]
4 data_type DataType
message SequenceState
1 input_name string
2 output_name string
3 data_type DataType
4 dims int64[]
5 initial_state InitialState[]
6 use_same_buffer_for_input_output bool
7 use_growable_memory bool
message InitialState
1 data_type DataType
2 dims int64[]
3 zero_data bool |state_data
4 data_file string |state_data
5 name string
message StrategyDirect
1 max_queue_delay_microseconds uint64
2 minimum_slot_utilization float
message StrategyOldest
1 max_candidate_sequences int32
2 preferred_batch_size int32[]
3 max_queue_delay_microseconds uint64
4 preserve_ordering bool

message ModelEnsembling
1 step EnsembleStep[]
2 max_inflight_requests uint32
message EnsembleStep
1 model_name string
2 model_version int64
3 input_map string[string]
4 output_map string[string]
5 model_namespace string

message ModelInstanceGroup
1 name string
4 kind InstanceKind
2 count int32
6 rate_limiter ModelRateLimiter
3 gpus int32[]
8 secondary_devices SecondaryDevice[]
5 profile string[]
7 passive bool
9 host_policy string
message SecondaryDevice
1 kind SecondaryDeviceKind
2 device_id int64
message ModelRateLimiter
1 resources RateLimiterResource[]
2 priority uint32
message RateLimiterResource
1 name string
2 global bool
3 count uint32

message ModelParameter
1 string_value string
message ModelWarmup
1 name string
2 batch_size uint32
3 inputs WarmupInput[string]
4 count uint32
message WarmupInput
1 data_type DataType
2 dims int64[]
3 zero_data bool |input_data_type
4 random_data bool |input_data_type
5 input_data_file string |input_data_type
message ModelOperations
1 op_library_filename string[]
message ModelTransactionPolicy
1 decoupled bool
message ModelRepositoryAgents
1 agents RepositoryAgent[]
message RepositoryAgent
1 name string
2 parameters string[string]
message ModelResponseCache
1 enable bool
message ModelMetrics
1 metric_control MetricControl[]
message MetricControl
1 metric_identifier MetricIdentifier
2 histogram_options HistogramOptions |metric_options
message MetricIdentifier
1 family string
message HistogramOptions
1 buckets double[]
"""

SCHEMA: Final = read_schema(SCHEMA_TEXT)


def read_text(text: str) -> Values:
    """The configuration in a config.pbtxt; Invalid says in which line and column it is wrong."""
    return protobuf_text.parse(text, SCHEMA, ROOT)


def read_json(text: str | bytes) -> Values:
    """The configuration in JSON, as a load request of the repository extension carries it; Invalid when it is none."""
    try:
        document: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the model configuration is no JSON: {error}", param="config") from error
    return SCHEMA.from_json(ROOT, document)


def completed(values: Values) -> Values:
    """The configuration as Triton shows it: every scalar, list and map is there."""
    return SCHEMA.completed(ROOT, values)


def datatype_of(data_type: str) -> Datatype:
    """The protocol's name of a configuration's data type; Invalid for TYPE_INVALID."""
    name = "BYTES" if data_type == "TYPE_STRING" else data_type.removeprefix("TYPE_")
    try:
        return msgspec.convert(name, Datatype)
    except msgspec.ValidationError as error:
        raise Invalid(f"data_type {data_type} is none", param="data_type") from error


def data_type_of(datatype: Datatype) -> str:
    """The configuration's name of a data type."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
