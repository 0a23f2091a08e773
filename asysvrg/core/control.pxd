from asysvrg.core._csrc cimport asv_control


cdef void start_control(asv_control *control, double deadline)
