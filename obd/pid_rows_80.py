"""Service 01, PIDs 80 to E0, as SAE J1979 defines them: one line a value.

Runs on CPython and MicroPython.  Columns as in `obd/pid_rows_00.py`.  Most of these PIDs tell in their first
byte which of their values are there.  The unit =raw means: the layout of its bytes is in no public source
that could be checked, so the value is the bytes themselves and nothing is guessed.  These are A3, A7, A8, C3,
C4 and C5: public tables give their names and lengths only, diagnosis programs leave them out or raw, and one
that computes some of them reads more bytes than they have.  The digital annex J1979-DA, which is sold, not
published, would tell.
Source: SAE J1979 (2017) and its digital annex J1979-DA, annex B; AA, B2, D2 and D3 are in the annex only.
"""

ROWS = """
80|4|supported_81_a0|PIDs supported, 81 to A0|=bitmap|=pids|0|4294967295
81|41|aecd_1_time_1|Auxiliary emission control device 1, run timer 1|A.0 ? 16777216*B+65536*C+256*D+E|s|0|4294967295
81|41|aecd_1_time_2|Auxiliary emission control device 1, run timer 2|A.0 ? 16777216*F+65536*G+256*H+I|s|0|4294967295
81|41|aecd_2_time_1|Auxiliary emission control device 2, run timer 1|A.1 ? 16777216*J+65536*K+256*L+M|s|0|4294967295
81|41|aecd_2_time_2|Auxiliary emission control device 2, run timer 2|A.1 ? 16777216*N+65536*O+256*P+Q|s|0|4294967295
81|41|aecd_3_time_1|Auxiliary emission control device 3, run timer 1|A.2 ? 16777216*R+65536*S+256*T+U|s|0|4294967295
81|41|aecd_3_time_2|Auxiliary emission control device 3, run timer 2|A.2 ? 16777216*V+65536*W+256*X+Y|s|0|4294967295
81|41|aecd_4_time_1|Auxiliary emission control device 4, run timer 1|A.3 ? 16777216*Z+65536*AA+256*AB+AC|s|0|4294967295
81|41|aecd_4_time_2|Auxiliary emission control device 4, run timer 2|A.3 ? 16777216*AD+65536*AE+256*AF+AG|s|0|4294967295
81|41|aecd_5_time_1|Auxiliary emission control device 5, run timer 1|A.4 ? 16777216*AH+65536*AI+256*AJ+AK|s|0|4294967295
81|41|aecd_5_time_2|Auxiliary emission control device 5, run timer 2|A.4 ? 16777216*AL+65536*AM+256*AN+AO|s|0|4294967295
82|41|aecd_6_time_1|Auxiliary emission control device 6, run timer 1|A.0 ? 16777216*B+65536*C+256*D+E|s|0|4294967295
82|41|aecd_6_time_2|Auxiliary emission control device 6, run timer 2|A.0 ? 16777216*F+65536*G+256*H+I|s|0|4294967295
82|41|aecd_7_time_1|Auxiliary emission control device 7, run timer 1|A.1 ? 16777216*J+65536*K+256*L+M|s|0|4294967295
82|41|aecd_7_time_2|Auxiliary emission control device 7, run timer 2|A.1 ? 16777216*N+65536*O+256*P+Q|s|0|4294967295
82|41|aecd_8_time_1|Auxiliary emission control device 8, run timer 1|A.2 ? 16777216*R+65536*S+256*T+U|s|0|4294967295
82|41|aecd_8_time_2|Auxiliary emission control device 8, run timer 2|A.2 ? 16777216*V+65536*W+256*X+Y|s|0|4294967295
82|41|aecd_9_time_1|Auxiliary emission control device 9, run timer 1|A.3 ? 16777216*Z+65536*AA+256*AB+AC|s|0|4294967295
82|41|aecd_9_time_2|Auxiliary emission control device 9, run timer 2|A.3 ? 16777216*AD+65536*AE+256*AF+AG|s|0|4294967295
82|41|aecd_10_time_1|Auxiliary emission control device 10, run timer 1|A.4 ? 16777216*AH+65536*AI+256*AJ+AK|s|0|4294967295
82|41|aecd_10_time_2|Auxiliary emission control device 10, run timer 2|A.4 ? 16777216*AL+65536*AM+256*AN+AO|s|0|4294967295
83|9|nox_b1s1|NOx concentration, bank 1 sensor 1|A.0 ? 256*B+C|ppm|0|65535
83|9|nox_b1s2|NOx concentration, bank 1 sensor 2|A.1 ? 256*D+E|ppm|0|65535
83|9|nox_b2s1|NOx concentration, bank 2 sensor 1|A.2 ? 256*F+G|ppm|0|65535
83|9|nox_b2s2|NOx concentration, bank 2 sensor 2|A.3 ? 256*H+I|ppm|0|65535
84|1|manifold_temp|Manifold surface temperature|A-40|°C|-40|215
85|10|reagent_rate|NOx reagent, average consumption|A.0 ? (256*B+C)/200|L/h|0|327.675
85|10|reagent_demand|NOx reagent, average demanded consumption|A.1 ? (256*D+E)/200|L/h|0|327.675
85|10|reagent_level|NOx reagent tank level|A.2 ? 100*F/255|%|0|100
85|10|nox_warning_time|Engine run time with NOx warning active|A.3 ? 16777216*G+65536*H+256*I+J|s|0|4294967295
86|5|pm_mass_1|Particulate matter concentration, bank 1|A.0 ? (256*B+C)/80|mg/m³|0|819.1875
86|5|pm_mass_2|Particulate matter concentration, bank 2|A.1 ? (256*D+E)/80|mg/m³|0|819.1875
87|5|intake_pressure_a|Intake manifold absolute pressure, sensor A|A.0 ? (256*B+C)/32|kPa|0|2047.96875
87|5|intake_pressure_b|Intake manifold absolute pressure, sensor B|A.1 ? (256*D+E)/32|kPa|0|2047.96875
88|13|scr_inducement|SCR inducement system, state now|A|=inducement|0|255
88|13|scr_inducement_10k|SCR inducement system, state in the last 10,000 km|bits(B,0,4)|=inducement|0|15
88|13|scr_inducement_20k|SCR inducement system, state in the 10,000 km before|bits(B,4,4)|=inducement|0|15
88|13|scr_inducement_30k|SCR inducement system, state from 20,000 to 30,000 km ago|bits(C,0,4)|=inducement|0|15
88|13|scr_inducement_40k|SCR inducement system, state from 30,000 to 40,000 km ago|bits(C,4,4)|=inducement|0|15
88|13|scr_inducement_distance_10k|Distance with SCR inducement in the present 10,000 km|256*D+E|km|0|65535
88|13|scr_block_distance|Distance travelled of the present 10,000 km|256*F+G|km|0|65535
88|13|scr_inducement_distance_20k|Distance with SCR inducement in the 10,000 km before|256*H+I|km|0|65535
88|13|scr_inducement_distance_30k|Distance with SCR inducement from 20,000 to 30,000 km ago|256*J+K|km|0|65535
88|13|scr_inducement_distance_40k|Distance with SCR inducement from 30,000 to 40,000 km ago|256*L+M|km|0|65535
89|41|aecd_11_time_1|Auxiliary emission control device 11, run timer 1|A.0 ? 16777216*B+65536*C+256*D+E|s|0|4294967295
89|41|aecd_11_time_2|Auxiliary emission control device 11, run timer 2|A.0 ? 16777216*F+65536*G+256*H+I|s|0|4294967295
89|41|aecd_12_time_1|Auxiliary emission control device 12, run timer 1|A.1 ? 16777216*J+65536*K+256*L+M|s|0|4294967295
89|41|aecd_12_time_2|Auxiliary emission control device 12, run timer 2|A.1 ? 16777216*N+65536*O+256*P+Q|s|0|4294967295
89|41|aecd_13_time_1|Auxiliary emission control device 13, run timer 1|A.2 ? 16777216*R+65536*S+256*T+U|s|0|4294967295
89|41|aecd_13_time_2|Auxiliary emission control device 13, run timer 2|A.2 ? 16777216*V+65536*W+256*X+Y|s|0|4294967295
89|41|aecd_14_time_1|Auxiliary emission control device 14, run timer 1|A.3 ? 16777216*Z+65536*AA+256*AB+AC|s|0|4294967295
89|41|aecd_14_time_2|Auxiliary emission control device 14, run timer 2|A.3 ? 16777216*AD+65536*AE+256*AF+AG|s|0|4294967295
89|41|aecd_15_time_1|Auxiliary emission control device 15, run timer 1|A.4 ? 16777216*AH+65536*AI+256*AJ+AK|s|0|4294967295
89|41|aecd_15_time_2|Auxiliary emission control device 15, run timer 2|A.4 ? 16777216*AL+65536*AM+256*AN+AO|s|0|4294967295
8A|41|aecd_16_time_1|Auxiliary emission control device 16, run timer 1|A.0 ? 16777216*B+65536*C+256*D+E|s|0|4294967295
8A|41|aecd_16_time_2|Auxiliary emission control device 16, run timer 2|A.0 ? 16777216*F+65536*G+256*H+I|s|0|4294967295
8A|41|aecd_17_time_1|Auxiliary emission control device 17, run timer 1|A.1 ? 16777216*J+65536*K+256*L+M|s|0|4294967295
8A|41|aecd_17_time_2|Auxiliary emission control device 17, run timer 2|A.1 ? 16777216*N+65536*O+256*P+Q|s|0|4294967295
8A|41|aecd_18_time_1|Auxiliary emission control device 18, run timer 1|A.2 ? 16777216*R+65536*S+256*T+U|s|0|4294967295
8A|41|aecd_18_time_2|Auxiliary emission control device 18, run timer 2|A.2 ? 16777216*V+65536*W+256*X+Y|s|0|4294967295
8A|41|aecd_19_time_1|Auxiliary emission control device 19, run timer 1|A.3 ? 16777216*Z+65536*AA+256*AB+AC|s|0|4294967295
8A|41|aecd_19_time_2|Auxiliary emission control device 19, run timer 2|A.3 ? 16777216*AD+65536*AE+256*AF+AG|s|0|4294967295
8A|41|aecd_20_time_1|Auxiliary emission control device 20, run timer 1|A.4 ? 16777216*AH+65536*AI+256*AJ+AK|s|0|4294967295
8A|41|aecd_20_time_2|Auxiliary emission control device 20, run timer 2|A.4 ? 16777216*AL+65536*AM+256*AN+AO|s|0|4294967295
8B|7|dpf_regenerating|Diesel particulate filter is regenerating|A.0 ? B.0|=yes|0|1
8B|7|dpf_active_regeneration|Regeneration of the diesel particulate filter is an active one|A.1 ? B.1|=yes|0|1
8B|7|nox_adsorber_regenerating|NOx adsorber is regenerating|A.2 ? B.2|=yes|0|1
8B|7|nox_adsorber_desulfurizing|NOx adsorber is being freed of sulphur|A.3 ? B.3|=yes|0|1
8B|7|dpf_trigger|Diesel aftertreatment, normalized trigger of regeneration|A.4 ? 100*C/255|%|0|100
8B|7|dpf_interval|Diesel aftertreatment, average time between regenerations|A.5 ? 256*D+E|min|0|65535
8B|7|dpf_interval_distance|Diesel aftertreatment, average distance between regenerations|A.6 ? 256*F+G|km|0|65535
8C|17|o2_b1s1_percent|Oxygen concentration, bank 1 sensor 1|A.0 ? 100*(256*B+C)/65535|%|0|100
8C|17|o2_b1s2_percent|Oxygen concentration, bank 1 sensor 2|A.1 ? 100*(256*D+E)/65535|%|0|100
8C|17|o2_b2s1_percent|Oxygen concentration, bank 2 sensor 1|A.2 ? 100*(256*F+G)/65535|%|0|100
8C|17|o2_b2s2_percent|Oxygen concentration, bank 2 sensor 2|A.3 ? 100*(256*H+I)/65535|%|0|100
8C|17|o2_b1s1_ratio|Equivalence ratio, bank 1 sensor 1|A.4 ? (256*J+K)/8192||0|7.9998779296875
8C|17|o2_b1s2_ratio|Equivalence ratio, bank 1 sensor 2|A.5 ? (256*L+M)/8192||0|7.9998779296875
8C|17|o2_b2s1_ratio|Equivalence ratio, bank 2 sensor 1|A.6 ? (256*N+O)/8192||0|7.9998779296875
8C|17|o2_b2s2_ratio|Equivalence ratio, bank 2 sensor 2|A.7 ? (256*P+Q)/8192||0|7.9998779296875
8D|1|throttle_g|Absolute throttle position G|100*A/255|%|0|100
8E|1|friction_torque|Engine friction torque|A-125|%|-125|130
8F|7|pm_sensor_1_measuring|Particulate sensor, bank 1, is measuring|A.0 ? B.0|=yes|0|1
8F|7|pm_sensor_1_regenerating|Particulate sensor, bank 1, is regenerating|A.0 ? B.1|=yes|0|1
8F|7|pm_sensor_1_output|Particulate sensor, bank 1: normalized output|A.1 ? signed16(256*C+D)/100|%|-327.68|327.67
8F|7|pm_sensor_2_measuring|Particulate sensor, bank 2, is measuring|A.2 ? E.0|=yes|0|1
8F|7|pm_sensor_2_regenerating|Particulate sensor, bank 2, is regenerating|A.2 ? E.1|=yes|0|1
8F|7|pm_sensor_2_output|Particulate sensor, bank 2: normalized output|A.3 ? signed16(256*F+G)/100|%|-327.68|327.67
90|3|mi_display|Display strategy of the malfunction indicator (WWH-OBD)|bits(A,0,2)|=mi_display|0|3
90|3|mi_mode|Malfunction indicator of the vehicle (WWH-OBD)|bits(A,2,4)|=mi_mode|0|15
90|3|monitors_incomplete|Monitors of the vehicle's emission systems are not complete|A.6|=yes|0|1
90|3|mi_hours|Operating hours with continuous malfunction indicator, vehicle|256*B+C|h|0|65535
91|5|ecu_mi_mode|Malfunction indicator of the ECU (WWH-OBD)|bits(A,0,4)|=mi_mode|0|15
91|5|ecu_mi_hours|Operating hours with continuous malfunction indicator, ECU|256*B+C|h|0|65535
91|5|ecu_b1_hours|Highest B1 counter of the ECU|256*D+E|h|0|65535
92|2|fuel_pressure_1_closed_loop|Fuel pressure control 1 in closed loop|A.0 ? B.0|=yes|0|1
92|2|fuel_quantity_1_closed_loop|Fuel injection quantity control 1 in closed loop|A.1 ? B.1|=yes|0|1
92|2|fuel_timing_1_closed_loop|Fuel injection timing control 1 in closed loop|A.2 ? B.2|=yes|0|1
92|2|fuel_balance_1_closed_loop|Idle fuel balance control 1 in closed loop|A.3 ? B.3|=yes|0|1
92|2|fuel_pressure_2_closed_loop|Fuel pressure control 2 in closed loop|A.4 ? B.4|=yes|0|1
92|2|fuel_quantity_2_closed_loop|Fuel injection quantity control 2 in closed loop|A.5 ? B.5|=yes|0|1
92|2|fuel_timing_2_closed_loop|Fuel injection timing control 2 in closed loop|A.6 ? B.6|=yes|0|1
92|2|fuel_balance_2_closed_loop|Idle fuel balance control 2 in closed loop|A.7 ? B.7|=yes|0|1
93|3|mi_hours_total|Operating hours with continuous malfunction indicator, in all|A.0 ? 256*B+C|h|0|65535
94|12|nox_warning|NOx warning system active|A.0 ? B.0|=yes|0|1
94|12|nox_inducement_1|NOx inducement, level 1|A.0 ? bits(B,1,2)|=inducement_level|0|3
94|12|nox_inducement_2|NOx inducement, level 2|A.0 ? bits(B,3,2)|=inducement_level|0|3
94|12|nox_inducement_3|NOx inducement, level 3|A.0 ? bits(B,5,2)|=inducement_level|0|3
94|12|reagent_quality_hours|Counter of bad reagent quality|A.1 ? 256*C+D|h|0|65535
94|12|reagent_consumption_hours|Counter of wrong reagent consumption|A.2 ? 256*E+F|h|0|65535
94|12|reagent_dosing_hours|Counter of interrupted reagent dosing|A.3 ? 256*G+H|h|0|65535
94|12|egr_valve_hours|Counter of an impeded EGR valve|A.4 ? 256*I+J|h|0|65535
94|12|nox_monitoring_hours|Counter of failed NOx monitoring|A.5 ? 256*K+L|h|0|65535
98|9|exhaust_temp_b1s5|Exhaust gas temperature, bank 1 sensor 5|A.0 ? (256*B+C)/10-40|°C|-40|6513.5
98|9|exhaust_temp_b1s6|Exhaust gas temperature, bank 1 sensor 6|A.1 ? (256*D+E)/10-40|°C|-40|6513.5
98|9|exhaust_temp_b1s7|Exhaust gas temperature, bank 1 sensor 7|A.2 ? (256*F+G)/10-40|°C|-40|6513.5
98|9|exhaust_temp_b1s8|Exhaust gas temperature, bank 1 sensor 8|A.3 ? (256*H+I)/10-40|°C|-40|6513.5
99|9|exhaust_temp_b2s5|Exhaust gas temperature, bank 2 sensor 5|A.0 ? (256*B+C)/10-40|°C|-40|6513.5
99|9|exhaust_temp_b2s6|Exhaust gas temperature, bank 2 sensor 6|A.1 ? (256*D+E)/10-40|°C|-40|6513.5
99|9|exhaust_temp_b2s7|Exhaust gas temperature, bank 2 sensor 7|A.2 ? (256*F+G)/10-40|°C|-40|6513.5
99|9|exhaust_temp_b2s8|Exhaust gas temperature, bank 2 sensor 8|A.3 ? (256*H+I)/10-40|°C|-40|6513.5
9A|6|hybrid_depleting|Hybrid or EV: the battery is being depleted|A.0 ? B.0|=yes|0|1
9A|6|hybrid_mode|Hybrid or EV: charging state|A.3 ? bits(B,1,2)|=hybrid_mode|0|3
9A|6|hybrid_voltage|Hybrid or EV battery voltage|A.1 ? (256*C+D)/64|V|0|1023.984375
9A|6|hybrid_current|Hybrid or EV battery current|A.2 ? signed16(256*E+F)/10|A|-3276.8|3276.7
9B|4|def_type|Diesel exhaust fluid: type by number|A.0 ? bits(A,4,4)||0|15
9B|4|def_concentration|Diesel exhaust fluid concentration|A.1 ? B/4|%|0|63.75
9B|4|def_temp|Diesel exhaust fluid tank temperature|A.2 ? C-40|°C|-40|215
9B|4|def_level|Diesel exhaust fluid tank level|A.3 ? 100*D/255|%|0|100
9C|17|o2_b1s3_percent|Oxygen concentration, bank 1 sensor 3|A.0 ? 100*(256*B+C)/65535|%|0|100
9C|17|o2_b1s4_percent|Oxygen concentration, bank 1 sensor 4|A.1 ? 100*(256*D+E)/65535|%|0|100
9C|17|o2_b2s3_percent|Oxygen concentration, bank 2 sensor 3|A.2 ? 100*(256*F+G)/65535|%|0|100
9C|17|o2_b2s4_percent|Oxygen concentration, bank 2 sensor 4|A.3 ? 100*(256*H+I)/65535|%|0|100
9C|17|o2_b1s3_ratio|Equivalence ratio, bank 1 sensor 3|A.4 ? (256*J+K)/8192||0|7.9998779296875
9C|17|o2_b1s4_ratio|Equivalence ratio, bank 1 sensor 4|A.5 ? (256*L+M)/8192||0|7.9998779296875
9C|17|o2_b2s3_ratio|Equivalence ratio, bank 2 sensor 3|A.6 ? (256*N+O)/8192||0|7.9998779296875
9C|17|o2_b2s4_ratio|Equivalence ratio, bank 2 sensor 4|A.7 ? (256*P+Q)/8192||0|7.9998779296875
9D|4|fuel_rate_engine|Engine fuel rate|(256*A+B)/50|g/s|0|1310.7
9D|4|fuel_rate_vehicle|Vehicle fuel rate|(256*C+D)/50|g/s|0|1310.7
9E|2|exhaust_flow|Engine exhaust flow rate|(256*A+B)/5|kg/h|0|13107
9F|9|fuel_use_a_b1|Share of fuel system A, bank 1|A.0 ? 100*B/255|%|0|100
9F|9|fuel_use_a_b2|Share of fuel system A, bank 2|A.1 ? 100*C/255|%|0|100
9F|9|fuel_use_a_b3|Share of fuel system A, bank 3|A.2 ? 100*D/255|%|0|100
9F|9|fuel_use_a_b4|Share of fuel system A, bank 4|A.3 ? 100*E/255|%|0|100
9F|9|fuel_use_b_b1|Share of fuel system B, bank 1|A.4 ? 100*F/255|%|0|100
9F|9|fuel_use_b_b2|Share of fuel system B, bank 2|A.5 ? 100*G/255|%|0|100
9F|9|fuel_use_b_b3|Share of fuel system B, bank 3|A.6 ? 100*H/255|%|0|100
9F|9|fuel_use_b_b4|Share of fuel system B, bank 4|A.7 ? 100*I/255|%|0|100
A0|4|supported_a1_c0|PIDs supported, A1 to C0|=bitmap|=pids|0|4294967295
A1|9|nox_corrected_b1s1|NOx concentration corrected, bank 1 sensor 1|A.0 ? 256*B+C|ppm|0|65535
A1|9|nox_corrected_b1s2|NOx concentration corrected, bank 1 sensor 2|A.1 ? 256*D+E|ppm|0|65535
A1|9|nox_corrected_b2s1|NOx concentration corrected, bank 2 sensor 1|A.2 ? 256*F+G|ppm|0|65535
A1|9|nox_corrected_b2s2|NOx concentration corrected, bank 2 sensor 2|A.3 ? 256*H+I|ppm|0|65535
A2|2|cylinder_fuel|Fuel per cylinder and stroke|(256*A+B)/32|mg|0|2047.96875
A3|9|evap_pressures|Evaporative system vapour pressures A and B|A|=raw|0|255
A4|4|gear|Transmission gear engaged|A.0 ? bits(B,4,4)||0|15
A4|4|gear_ratio|Transmission gear ratio|A.1 ? (256*C+D)/1000||0|65.535
A5|4|def_dosing|Commanded diesel exhaust fluid dosing|A.0 ? B/2|%|0|127.5
A5|4|def_use|Diesel exhaust fluid used in this driving cycle|A.1 ? (256*C+D)/2000|L|0|32.7675
A6|4|odometer|Odometer|(16777216*A+65536*B+256*C+D)/10|km|0|429496729.5
A7|4|nox_s3_s4|NOx concentration, sensors 3 and 4|A|=raw|0|255
A8|4|nox_corrected_s3_s4|NOx concentration corrected, sensors 3 and 4|A|=raw|0|255
A9|4|abs_disabled|Anti-lock brakes switched off|A.0 ? B.0|=yes|0|1
AA|1|speed_limit|Vehicle speed limit now set|A|km/h|0|255
B2|1|battery_health|Traction battery, state of health|100*A/255|%|0|100
C0|4|supported_c1_e0|PIDs supported, C1 to E0|=bitmap|=pids|0|4294967295
C3|2|fuel_levels|Fuel levels A and B|A|=raw|0|255
C4|8|particulate_counters|Particulate control diagnostic time and count|A|=raw|0|255
C5|4|fuel_pressures|Fuel pressures A and B|A|=raw|0|255
C6|7|particulate_inducement|Particulate control inducement status|A|=bits|0|255
C6|7|particulate_removed_hours|Counter of a removed or blocked particulate aftertreatment|256*B+C|h|0|65535
C6|7|fuel_additive_hours|Counter of failed reagent injection for particulates|256*D+E|h|0|65535
C6|7|particulate_monitoring_hours|Counter of failed particulate monitoring|256*F+G|h|0|65535
C7|2|reflash_distance|Distance since reflash or replacement of the module|256*A+B|km|0|65535
C8|1|warning_lamps|NOx and particulate control warning lamps|A|=bits|0|255
D2|3|certified_energy|Traction battery, state of certified energy|A.0 ? 100*B/255|%|0|100
D2|3|certified_range|Traction battery, state of certified range|A.1 ? 100*C/255|%|0|100
D3|4|engine_odometer|Odometer of the engine|(16777216*A+65536*B+256*C+D)/10|km|0|429496729.5
E0|4|supported_e1_ff|PIDs supported, E1 to FF|=bitmap|=pids|0|4294967295
"""  # noqa: E501 - one line a value
