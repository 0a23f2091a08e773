from asysvrg.core._csrc cimport asv_control


cdef int start_control(asv_control *control, double deadline) except -1
