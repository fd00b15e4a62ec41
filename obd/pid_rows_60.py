"""Service 01, PIDs 60 to 7F, as SAE J1979 defines them: one line a value.

Runs on CPython and MicroPython.  Columns as in `obd/pid_rows_00.py`.  Most of these PIDs tell in their first
byte which of their values are there.
Source: SAE J1979 (2017) and its digital annex J1979-DA, annex B.
"""

ROWS = """
60|4|supported_61_80|PIDs supported, 61 to 80|=bitmap|=pids|0|4294967295
61|1|torque_demand|Torque that the driver demands|A-125|%|-125|130
62|1|torque_actual|Actual engine torque|A-125|%|-125|130
63|2|torque_reference|Engine reference torque|256*A+B|N·m|0|65535
64|5|torque_idle|Engine torque at idle|A-125|%|-125|130
64|5|torque_point_1|Engine torque at point 1|B-125|%|-125|130
64|5|torque_point_2|Engine torque at point 2|C-125|%|-125|130
64|5|torque_point_3|Engine torque at point 3|D-125|%|-125|130
64|5|torque_point_4|Engine torque at point 4|E-125|%|-125|130
65|2|pto_status|Power take-off active|A.0 ? B.0|=yes|0|1
65|2|auto_neutral|Automatic transmission in drive|A.1 ? B.1|=yes|0|1
65|2|manual_neutral|Manual transmission in gear|A.2 ? B.2|=yes|0|1
65|2|glow_lamp|Glow plug lamp lit|A.3 ? B.3|=yes|0|1
65|2|gear_recommended|Recommended gear|A.4 ? bits(B,4,4)||0|15
66|5|air_flow_a|Mass air flow, sensor A|A.0 ? (256*B+C)/32|g/s|0|2047.96875
66|5|air_flow_b|Mass air flow, sensor B|A.1 ? (256*D+E)/32|g/s|0|2047.96875
67|3|coolant_temp_1|Engine coolant temperature, sensor 1|A.0 ? B-40|°C|-40|215
67|3|coolant_temp_2|Engine coolant temperature, sensor 2|A.1 ? C-40|°C|-40|215
68|7|intake_temp_b1s1|Intake air temperature, bank 1 sensor 1|A.0 ? B-40|°C|-40|215
68|7|intake_temp_b1s2|Intake air temperature, bank 1 sensor 2|A.1 ? C-40|°C|-40|215
68|7|intake_temp_b1s3|Intake air temperature, bank 1 sensor 3|A.2 ? D-40|°C|-40|215
68|7|intake_temp_b2s1|Intake air temperature, bank 2 sensor 1|A.3 ? E-40|°C|-40|215
68|7|intake_temp_b2s2|Intake air temperature, bank 2 sensor 2|A.4 ? F-40|°C|-40|215
68|7|intake_temp_b2s3|Intake air temperature, bank 2 sensor 3|A.5 ? G-40|°C|-40|215
69|7|egr_commanded_a|Commanded EGR A|A.0 ? 100*B/255|%|0|100
69|7|egr_actual_a|Actual EGR A|A.1 ? 100*C/255|%|0|100
69|7|egr_error_a|EGR A error|A.2 ? 100*D/128-100|%|-100|99.21875
69|7|egr_commanded_b|Commanded EGR B|A.3 ? 100*E/255|%|0|100
69|7|egr_actual_b|Actual EGR B|A.4 ? 100*F/255|%|0|100
69|7|egr_error_b|EGR B error|A.5 ? 100*G/128-100|%|-100|99.21875
6A|5|intake_flow_commanded_a|Commanded diesel intake air flow A|A.0 ? 100*B/255|%|0|100
6A|5|intake_flow_position_a|Relative position of diesel intake air flow A|A.1 ? 100*C/255|%|0|100
6A|5|intake_flow_commanded_b|Commanded diesel intake air flow B|A.2 ? 100*D/255|%|0|100
6A|5|intake_flow_position_b|Relative position of diesel intake air flow B|A.3 ? 100*E/255|%|0|100
6B|5|egr_temp_b1s1|EGR temperature, bank 1 sensor 1|A.0 ? B-40|°C|-40|215
6B|5|egr_temp_b1s2|EGR temperature, bank 1 sensor 2|A.1 ? C-40|°C|-40|215
6B|5|egr_temp_b2s1|EGR temperature, bank 2 sensor 1|A.2 ? D-40|°C|-40|215
6B|5|egr_temp_b2s2|EGR temperature, bank 2 sensor 2|A.3 ? E-40|°C|-40|215
6B|5|egr_wide_temp_b1s1|EGR temperature, bank 1 sensor 1 (wide range)|A.4 ? 4*B-40|°C|-40|980
6B|5|egr_wide_temp_b1s2|EGR temperature, bank 1 sensor 2 (wide range)|A.5 ? 4*C-40|°C|-40|980
6B|5|egr_wide_temp_b2s1|EGR temperature, bank 2 sensor 1 (wide range)|A.6 ? 4*D-40|°C|-40|980
6B|5|egr_wide_temp_b2s2|EGR temperature, bank 2 sensor 2 (wide range)|A.7 ? 4*E-40|°C|-40|980
6C|5|throttle_actuator_commanded_a|Commanded throttle actuator A|A.0 ? 100*B/255|%|0|100
6C|5|throttle_actuator_position_a|Relative position of throttle actuator A|A.1 ? 100*C/255|%|0|100
6C|5|throttle_actuator_commanded_b|Commanded throttle actuator B|A.2 ? 100*D/255|%|0|100
6C|5|throttle_actuator_position_b|Relative position of throttle actuator B|A.3 ? 100*E/255|%|0|100
6D|11|rail_commanded_a|Commanded fuel rail pressure A|A.0 ? 10*(256*B+C)|kPa|0|655350
6D|11|rail_actual_a|Fuel rail pressure A|A.1 ? 10*(256*D+E)|kPa|0|655350
6D|11|rail_temp_a|Fuel rail temperature A|A.2 ? F-40|°C|-40|215
6D|11|rail_commanded_b|Commanded fuel rail pressure B|A.3 ? 10*(256*G+H)|kPa|0|655350
6D|11|rail_actual_b|Fuel rail pressure B|A.4 ? 10*(256*I+J)|kPa|0|655350
6D|11|rail_temp_b|Fuel rail temperature B|A.5 ? K-40|°C|-40|215
6E|9|injection_commanded_a|Commanded injection control pressure A|A.0 ? 10*(256*B+C)|kPa|0|655350
6E|9|injection_actual_a|Injection control pressure A|A.1 ? 10*(256*D+E)|kPa|0|655350
6E|9|injection_commanded_b|Commanded injection control pressure B|A.2 ? 10*(256*F+G)|kPa|0|655350
6E|9|injection_actual_b|Injection control pressure B|A.3 ? 10*(256*H+I)|kPa|0|655350
6F|3|turbo_inlet_pressure_a|Turbocharger A compressor inlet pressure|A.0 ? B|kPa|0|255
6F|3|turbo_inlet_pressure_b|Turbocharger B compressor inlet pressure|A.1 ? C|kPa|0|255
6F|3|turbo_inlet_wide_pressure_a|Turbocharger A compressor inlet pressure (wide range)|A.2 ? 8*B|kPa|0|2040
6F|3|turbo_inlet_wide_pressure_b|Turbocharger B compressor inlet pressure (wide range)|A.3 ? 8*C|kPa|0|2040
70|10|boost_commanded_a|Commanded boost pressure A|A.0 ? (256*B+C)/32|kPa|0|2047.96875
70|10|boost_actual_a|Boost pressure A|A.1 ? (256*D+E)/32|kPa|0|2047.96875
70|10|boost_control_a|Boost pressure A control status|A.2 ? bits(J,0,2)|=boost_control|0|3
70|10|boost_commanded_b|Commanded boost pressure B|A.3 ? (256*F+G)/32|kPa|0|2047.96875
70|10|boost_actual_b|Boost pressure B|A.4 ? (256*H+I)/32|kPa|0|2047.96875
70|10|boost_control_b|Boost pressure B control status|A.5 ? bits(J,2,2)|=boost_control|0|3
71|6|vgt_commanded_a|Commanded variable geometry turbo A position|A.0 ? 100*B/255|%|0|100
71|6|vgt_position_a|Variable geometry turbo A position|A.1 ? 100*C/255|%|0|100
71|6|vgt_control_a|Variable geometry turbo A control status|A.2 ? bits(F,0,2)|=boost_control|0|3
71|6|vgt_commanded_b|Commanded variable geometry turbo B position|A.3 ? 100*D/255|%|0|100
71|6|vgt_position_b|Variable geometry turbo B position|A.4 ? 100*E/255|%|0|100
71|6|vgt_control_b|Variable geometry turbo B control status|A.5 ? bits(F,2,2)|=boost_control|0|3
72|5|wastegate_commanded_a|Commanded wastegate A position|A.0 ? 100*B/255|%|0|100
72|5|wastegate_position_a|Wastegate A position|A.1 ? 100*C/255|%|0|100
72|5|wastegate_commanded_b|Commanded wastegate B position|A.2 ? 100*D/255|%|0|100
72|5|wastegate_position_b|Wastegate B position|A.3 ? 100*E/255|%|0|100
73|5|exhaust_pressure_1|Exhaust pressure, bank 1|A.0 ? (256*B+C)/100|kPa|0|655.35
73|5|exhaust_pressure_2|Exhaust pressure, bank 2|A.1 ? (256*D+E)/100|kPa|0|655.35
74|5|turbo_speed_a|Turbocharger A speed|A.0 ? 10*(256*B+C)|rpm|0|655350
74|5|turbo_speed_b|Turbocharger B speed|A.1 ? 10*(256*D+E)|rpm|0|655350
75|7|turbo_a_compressor_inlet_temp|Turbocharger A compressor inlet temperature|A.0 ? B-40|°C|-40|215
75|7|turbo_a_compressor_outlet_temp|Turbocharger A compressor outlet temperature|A.1 ? C-40|°C|-40|215
75|7|turbo_a_turbine_inlet_temp|Turbocharger A turbine inlet temperature|A.2 ? (256*D+E)/10-40|°C|-40|6513.5
75|7|turbo_a_turbine_outlet_temp|Turbocharger A turbine outlet temperature|A.3 ? (256*F+G)/10-40|°C|-40|6513.5
76|7|turbo_b_compressor_inlet_temp|Turbocharger B compressor inlet temperature|A.0 ? B-40|°C|-40|215
76|7|turbo_b_compressor_outlet_temp|Turbocharger B compressor outlet temperature|A.1 ? C-40|°C|-40|215
76|7|turbo_b_turbine_inlet_temp|Turbocharger B turbine inlet temperature|A.2 ? (256*D+E)/10-40|°C|-40|6513.5
76|7|turbo_b_turbine_outlet_temp|Turbocharger B turbine outlet temperature|A.3 ? (256*F+G)/10-40|°C|-40|6513.5
77|5|charge_air_temp_b1s1|Charge air cooler temperature, bank 1 sensor 1|A.0 ? B-40|°C|-40|215
77|5|charge_air_temp_b1s2|Charge air cooler temperature, bank 1 sensor 2|A.1 ? C-40|°C|-40|215
77|5|charge_air_temp_b2s1|Charge air cooler temperature, bank 2 sensor 1|A.2 ? D-40|°C|-40|215
77|5|charge_air_temp_b2s2|Charge air cooler temperature, bank 2 sensor 2|A.3 ? E-40|°C|-40|215
78|9|exhaust_temp_b1s1|Exhaust gas temperature, bank 1 sensor 1|A.0 ? (256*B+C)/10-40|°C|-40|6513.5
78|9|exhaust_temp_b1s2|Exhaust gas temperature, bank 1 sensor 2|A.1 ? (256*D+E)/10-40|°C|-40|6513.5
78|9|exhaust_temp_b1s3|Exhaust gas temperature, bank 1 sensor 3|A.2 ? (256*F+G)/10-40|°C|-40|6513.5
78|9|exhaust_temp_b1s4|Exhaust gas temperature, bank 1 sensor 4|A.3 ? (256*H+I)/10-40|°C|-40|6513.5
79|9|exhaust_temp_b2s1|Exhaust gas temperature, bank 2 sensor 1|A.0 ? (256*B+C)/10-40|°C|-40|6513.5
79|9|exhaust_temp_b2s2|Exhaust gas temperature, bank 2 sensor 2|A.1 ? (256*D+E)/10-40|°C|-40|6513.5
79|9|exhaust_temp_b2s3|Exhaust gas temperature, bank 2 sensor 3|A.2 ? (256*F+G)/10-40|°C|-40|6513.5
79|9|exhaust_temp_b2s4|Exhaust gas temperature, bank 2 sensor 4|A.3 ? (256*H+I)/10-40|°C|-40|6513.5
7A|7|dpf_delta_pressure_1|Diesel particulate filter, bank 1: differential pressure|A.0 ? signed16(256*B+C)/100|kPa|-327.68|327.67
7A|7|dpf_inlet_pressure_1|Diesel particulate filter, bank 1: inlet pressure|A.1 ? (256*D+E)/100|kPa|0|655.35
7A|7|dpf_outlet_pressure_1|Diesel particulate filter, bank 1: outlet pressure|A.2 ? (256*F+G)/100|kPa|0|655.35
7B|7|dpf_delta_pressure_2|Diesel particulate filter, bank 2: differential pressure|A.0 ? signed16(256*B+C)/100|kPa|-327.68|327.67
7B|7|dpf_inlet_pressure_2|Diesel particulate filter, bank 2: inlet pressure|A.1 ? (256*D+E)/100|kPa|0|655.35
7B|7|dpf_outlet_pressure_2|Diesel particulate filter, bank 2: outlet pressure|A.2 ? (256*F+G)/100|kPa|0|655.35
7C|9|dpf_inlet_temp_1|Diesel particulate filter, bank 1: inlet temperature|A.0 ? (256*B+C)/10-40|°C|-40|6513.5
7C|9|dpf_outlet_temp_1|Diesel particulate filter, bank 1: outlet temperature|A.1 ? (256*D+E)/10-40|°C|-40|6513.5
7C|9|dpf_inlet_temp_2|Diesel particulate filter, bank 2: inlet temperature|A.2 ? (256*F+G)/10-40|°C|-40|6513.5
7C|9|dpf_outlet_temp_2|Diesel particulate filter, bank 2: outlet temperature|A.3 ? (256*H+I)/10-40|°C|-40|6513.5
7D|1|nox_nte_area|NOx not-to-exceed control area status|A|=bits|0|255
7E|1|pm_nte_area|Particulate not-to-exceed control area status|A|=bits|0|255
7F|13|total_run_time|Engine run time in all|A.0 ? 16777216*B+65536*C+256*D+E|s|0|4294967295
7F|13|total_idle_time|Engine idle time in all|A.1 ? 16777216*F+65536*G+256*H+I|s|0|4294967295
7F|13|total_pto_time|Run time in all with power take-off|A.2 ? 16777216*J+65536*K+256*L+M|s|0|4294967295
"""  # noqa: E501 - one line a value
