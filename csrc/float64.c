/* The kernels in double precision. */
#define ASV_DOUBLE 1
#include "direction.h"
#include "half.h"
#include "listing.h"
#include "nonzeros.h"
#include "sweep.h"
#include "team.h"

const asv_kernels asv_kernels_f64 = {
    asv_sweep_scratch_f64, asv_sweep_rows_f64,      asv_step_scratch_f64, asv_work_f64,      asv_team_f64,
    asv_settle_f64,        asv_atomic_subtract_f64, asv_nonzeros_f64,     asv_direction_f64, asv_complete_f64,
    asv_to_half_f64,       asv_from_half_f64,       asv_list_f64,
};
