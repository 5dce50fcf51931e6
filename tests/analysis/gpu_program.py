"""A program as XLA writes it for GPUs, shortened: a training step with a convolution, a product and a max-pool."""

# ruff: noqa: E501

PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_add (p0: f32[1000]) -> f32[1000] {
  %p0 = f32[1000]{0} parameter(0)
  ROOT %add = f32[1000]{0} add(%p0, %p0)
}

%fused_reduce (p0: bf16[8,64,64,64], p1: bf16[4,8,64,64,64]) -> f32[64] {
  %p0 = bf16[8,64,64,64]{3,2,1,0} parameter(0)
  %p1 = bf16[4,8,64,64,64]{4,3,2,1,0} parameter(1)
  %one = bf16[1,8,64,64,64]{4,3,2,1,0} slice(%p1), slice={[0:1], [0:8], [0:64], [0:64], [0:64]}
  ROOT %reduce = f32[64]{0} reduce(%p0, %one), dimensions={0,1,2}, to_apply=%add_of_two
}

%fused_scatter (p0: bf16[8,128,128,64], p1: s32[8,64,64,64]) -> bf16[8,128,128,64] {
  %p0 = bf16[8,128,128,64]{3,2,1,0} parameter(0)
  %p1 = s32[8,64,64,64]{3,2,1,0} parameter(1)
  ROOT %scatter = bf16[8,128,128,64]{3,2,1,0} scatter(%p0, %p1, %p0), to_apply=%add_of_two
}

%inner (q0: f32[512,256], q1: f32[256,1000]) -> f32[512,1000] {
  %q0 = f32[512,256]{1,0} parameter(0)
  %q1 = f32[256,1000]{1,0} parameter(1)
  ROOT %dot = f32[512,1000]{1,0} dot(%q0, %q1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%gemm_fusion (p0: f32[512,256], p1: f32[256,1000]) -> f32[512,1000] {
  %p0 = f32[512,256]{1,0} parameter(0)
  %p1 = f32[256,1000]{1,0} parameter(1)
  ROOT %nested = f32[512,1000]{1,0} fusion(%p0, %p1), kind=kCustom, calls=%inner
}

%body (state: (s32[], f32[1000])) -> (s32[], f32[1000]) {
  %state = (s32[], f32[1000]{0}) parameter(0)
  %counter = s32[] get-tuple-element(%state), index=0
  %value = f32[1000]{0} get-tuple-element(%state), index=1
  %next = f32[1000]{0} fusion(%value), kind=kLoop, calls=%fused_add
  ROOT %result = (s32[], f32[1000]{0}) tuple(%counter, %next)
}

ENTRY %main (x: bf16[8,64,64,64], w: bf16[128,3,3,64], all: bf16[4,8,64,64,64], a: f32[512,256], b: f32[256,1000], v: f32[1000]) -> f32[64] {
  %x = bf16[8,64,64,64]{3,2,1,0} parameter(0)
  %w = bf16[128,3,3,64]{3,2,1,0} parameter(1)
  %all = bf16[4,8,64,64,64]{4,3,2,1,0} parameter(2)
  %a = f32[512,256]{1,0} parameter(3)
  %b = f32[256,1000]{1,0} parameter(4)
  %v = f32[1000]{0} parameter(5)
  %conv = (bf16[8,32,32,128]{3,2,1,0}, u8[5000]{0}) custom-call(%x, %w), window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/jvp(ResNet)/conv1"}
  %y = bf16[8,32,32,128]{3,2,1,0} get-tuple-element(%conv), index=0
  %conv-x = (bf16[8,64,64,64]{3,2,1,0}, u8[0]{0}) custom-call(%y, %w), window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput"
  %conv-w = (bf16[128,3,3,64]{3,2,1,0}, u8[0]{0}) custom-call(%x, %y), window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  %sums = f32[64]{0} fusion(%x, %all), kind=kInput, calls=%fused_reduce
  %logits = f32[512,1000]{1,0} fusion(%a, %b), kind=kCustom, calls=%gemm_fusion
  %gemm = (f32[512,1000]{1,0}, s8[4194304]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]},"precision_config":{"operand_precision":["HIGHEST","HIGHEST"]}}}
  %positions = s32[8,64,64,64]{3,2,1,0} fusion(), kind=kLoop, calls=%fused_zeros
  %big = bf16[8,128,128,64]{3,2,1,0} fusion(), kind=kLoop, calls=%fused_zeros
  %pool = bf16[8,128,128,64]{3,2,1,0} fusion(%big, %positions), kind=kInput, calls=%fused_scatter
  %start = (f32[64]{0}, f32[64]{0}) all-reduce-start(%sums), to_apply=%add_of_two
  %done = f32[64]{0} all-reduce-done(%start)
  %first = (s32[], f32[1000]{0}) tuple(%zero, %v)
  %loop = (s32[], f32[1000]{0}) while(%first), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %out = f32[64]{0} bitcast(%done)
}
"""
