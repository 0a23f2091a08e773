/* The kernels in single precision. */
#define ASV_DOUBLE 0
#include "direction.h"
#include "half.h"
#include "listing.h"
#include "nonzeros.h"
#include "sweep.h"
#include "team.h"

const asv_kernels asv_kernels_f32 = {
    asv_sweep_scratch_f32, asv_sweep_rows_f32,      asv_step_scratch_f32, asv_work_f32,      asv_team_f32,
    asv_settle_f32,        asv_atomic_subtract_f32, asv_nonzeros_f32,     asv_direction_f32, asv_complete_f32,
    asv_to_half_f32,       asv_from_half_f32,       asv_list_f32,
};
