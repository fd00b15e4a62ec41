"""Service 01, PIDs 00 to 5F, as SAE J1979 defines them: one line a value.

Runs on CPython and MicroPython.  Columns: PID, bytes of its data, key, name, formula, unit, lowest and
highest value.  A unit that begins with = names a table of `obd/pid_choices.py`.
Source: SAE J1979 (2017), annex B, which is ISO 15031-5:2015, annex B.
"""

ROWS = """
00|4|supported_01_20|PIDs supported, 01 to 20|=bitmap|=pids|0|4294967295
01|4|mil|Malfunction indicator lamp|A.7|=yes|0|1
01|4|dtc_count|Emission-related DTCs stored|bits(A,0,7)||0|127
01|4|is_compression|Engine with compression ignition|B.3|=yes|0|1
02|2|freeze_dtc|DTC that caused the freeze frame|256*A+B|=dtc|0|65535
03|2|fuel_system_1|Fuel system 1 status|A|=fuel_system|0|255
03|2|fuel_system_2|Fuel system 2 status|B|=fuel_system|0|255
04|1|engine_load|Calculated engine load|100*A/255|%|0|100
05|1|coolant_temp|Engine coolant temperature|A-40|°C|-40|215
06|1|short_trim_1|Short term fuel trim, bank 1|100*A/128-100|%|-100|99.21875
06|2|short_trim_3|Short term fuel trim, bank 3|100*B/128-100|%|-100|99.21875
07|1|long_trim_1|Long term fuel trim, bank 1|100*A/128-100|%|-100|99.21875
07|2|long_trim_3|Long term fuel trim, bank 3|100*B/128-100|%|-100|99.21875
08|1|short_trim_2|Short term fuel trim, bank 2|100*A/128-100|%|-100|99.21875
08|2|short_trim_4|Short term fuel trim, bank 4|100*B/128-100|%|-100|99.21875
09|1|long_trim_2|Long term fuel trim, bank 2|100*A/128-100|%|-100|99.21875
09|2|long_trim_4|Long term fuel trim, bank 4|100*B/128-100|%|-100|99.21875
0A|1|fuel_pressure|Fuel pressure (gauge)|3*A|kPa|0|765
0B|1|intake_pressure|Intake manifold absolute pressure|A|kPa|0|255
0C|2|engine_speed|Engine speed|(256*A+B)/4|rpm|0|16383.75
0D|1|vehicle_speed|Vehicle speed|A|km/h|0|255
0E|1|timing_advance|Ignition timing advance of cylinder 1|A/2-64|°|-64|63.5
0F|1|intake_temp|Intake air temperature|A-40|°C|-40|215
10|2|air_flow|Mass air flow|(256*A+B)/100|g/s|0|655.35
11|1|throttle|Absolute throttle position|100*A/255|%|0|100
12|1|secondary_air|Commanded secondary air status|A|=secondary_air|0|255
13|1|o2_sensors_2_banks|Oxygen sensors present (2 banks)|A|=bits|0|255
14|2|o2_b1s1_voltage|Oxygen sensor, bank 1 sensor 1|A/200|V|0|1.275
14|2|o2_b1s1_trim|Short term fuel trim, bank 1 sensor 1|B-255 ? 100*B/128-100|%|-100|98.4375
15|2|o2_b1s2_voltage|Oxygen sensor, bank 1 sensor 2|A/200|V|0|1.275
15|2|o2_b1s2_trim|Short term fuel trim, bank 1 sensor 2|B-255 ? 100*B/128-100|%|-100|98.4375
16|2|o2_b1s3_voltage|Oxygen sensor, bank 1 sensor 3|A/200|V|0|1.275
16|2|o2_b1s3_trim|Short term fuel trim, bank 1 sensor 3|B-255 ? 100*B/128-100|%|-100|98.4375
17|2|o2_b1s4_voltage|Oxygen sensor, bank 1 sensor 4|A/200|V|0|1.275
17|2|o2_b1s4_trim|Short term fuel trim, bank 1 sensor 4|B-255 ? 100*B/128-100|%|-100|98.4375
18|2|o2_b2s1_voltage|Oxygen sensor, bank 2 sensor 1|A/200|V|0|1.275
18|2|o2_b2s1_trim|Short term fuel trim, bank 2 sensor 1|B-255 ? 100*B/128-100|%|-100|98.4375
19|2|o2_b2s2_voltage|Oxygen sensor, bank 2 sensor 2|A/200|V|0|1.275
19|2|o2_b2s2_trim|Short term fuel trim, bank 2 sensor 2|B-255 ? 100*B/128-100|%|-100|98.4375
1A|2|o2_b2s3_voltage|Oxygen sensor, bank 2 sensor 3|A/200|V|0|1.275
1A|2|o2_b2s3_trim|Short term fuel trim, bank 2 sensor 3|B-255 ? 100*B/128-100|%|-100|98.4375
1B|2|o2_b2s4_voltage|Oxygen sensor, bank 2 sensor 4|A/200|V|0|1.275
1B|2|o2_b2s4_trim|Short term fuel trim, bank 2 sensor 4|B-255 ? 100*B/128-100|%|-100|98.4375
1C|1|obd_standard|OBD requirements that the vehicle is designed to|A|=obd_standard|0|255
1D|1|o2_sensors_4_banks|Oxygen sensors present (4 banks)|A|=bits|0|255
1E|1|pto_active|Power take-off active|A.0|=yes|0|1
1F|2|run_time|Time since engine start|256*A+B|s|0|65535
20|4|supported_21_40|PIDs supported, 21 to 40|=bitmap|=pids|0|4294967295
21|2|mil_distance|Distance travelled while MIL is on|256*A+B|km|0|65535
22|2|fuel_rail_vacuum_pressure|Fuel rail pressure relative to manifold vacuum|0.079*(256*A+B)|kPa|0|5177.265
23|2|fuel_rail_pressure|Fuel rail pressure (gauge, direct injection)|10*(256*A+B)|kPa|0|655350
24|4|o2_s1_lambda|Wide range oxygen sensor 1, equivalence ratio|(256*A+B)/32768||0|1.999969482421875
24|4|o2_s1_wide_voltage|Wide range oxygen sensor 1, voltage|(256*C+D)/8192|V|0|7.9998779296875
25|4|o2_s2_lambda|Wide range oxygen sensor 2, equivalence ratio|(256*A+B)/32768||0|1.999969482421875
25|4|o2_s2_wide_voltage|Wide range oxygen sensor 2, voltage|(256*C+D)/8192|V|0|7.9998779296875
26|4|o2_s3_lambda|Wide range oxygen sensor 3, equivalence ratio|(256*A+B)/32768||0|1.999969482421875
26|4|o2_s3_wide_voltage|Wide range oxygen sensor 3, voltage|(256*C+D)/8192|V|0|7.9998779296875
27|4|o2_s4_lambda|Wide range oxygen sensor 4, equivalence ratio|(256*A+B)/32768||0|1.999969482421875
27|4|o2_s4_wide_voltage|Wide range oxygen sensor 4, voltage|(256*C+D)/8192|V|0|7.9998779296875
28|4|o2_s5_lambda|Wide range oxygen sensor 5, equivalence ratio|(256*A+B)/32768||0|1.999969482421875
28|4|o2_s5_wide_voltage|Wide range oxygen sensor 5, voltage|(256*C+D)/8192|V|0|7.9998779296875
29|4|o2_s6_lambda|Wide range oxygen sensor 6, equivalence ratio|(256*A+B)/32768||0|1.999969482421875
29|4|o2_s6_wide_voltage|Wide range oxygen sensor 6, voltage|(256*C+D)/8192|V|0|7.9998779296875
2A|4|o2_s7_lambda|Wide range oxygen sensor 7, equivalence ratio|(256*A+B)/32768||0|1.999969482421875
2A|4|o2_s7_wide_voltage|Wide range oxygen sensor 7, voltage|(256*C+D)/8192|V|0|7.9998779296875
2B|4|o2_s8_lambda|Wide range oxygen sensor 8, equivalence ratio|(256*A+B)/32768||0|1.999969482421875
2B|4|o2_s8_wide_voltage|Wide range oxygen sensor 8, voltage|(256*C+D)/8192|V|0|7.9998779296875
2C|1|egr_commanded|Commanded EGR|100*A/255|%|0|100
2D|1|egr_error|EGR error|100*A/128-100|%|-100|99.21875
2E|1|purge_commanded|Commanded evaporative purge|100*A/255|%|0|100
2F|1|fuel_level|Fuel level|100*A/255|%|0|100
30|1|warm_ups|Warm-ups since DTCs were cleared|A||0|255
31|2|cleared_distance|Distance travelled since DTCs were cleared|256*A+B|km|0|65535
32|2|evap_pressure|Evaporative system vapour pressure|signed16(256*A+B)/4|Pa|-8192|8191.75
33|1|barometric_pressure|Barometric pressure|A|kPa|0|255
34|4|o2_s1_pump_lambda|Wide range oxygen sensor 1, equivalence ratio (by current)|(256*A+B)/32768||0|1.999969482421875
34|4|o2_s1_current|Wide range oxygen sensor 1, current|(256*C+D)/256-128|mA|-128|127.99609375
35|4|o2_s2_pump_lambda|Wide range oxygen sensor 2, equivalence ratio (by current)|(256*A+B)/32768||0|1.999969482421875
35|4|o2_s2_current|Wide range oxygen sensor 2, current|(256*C+D)/256-128|mA|-128|127.99609375
36|4|o2_s3_pump_lambda|Wide range oxygen sensor 3, equivalence ratio (by current)|(256*A+B)/32768||0|1.999969482421875
36|4|o2_s3_current|Wide range oxygen sensor 3, current|(256*C+D)/256-128|mA|-128|127.99609375
37|4|o2_s4_pump_lambda|Wide range oxygen sensor 4, equivalence ratio (by current)|(256*A+B)/32768||0|1.999969482421875
37|4|o2_s4_current|Wide range oxygen sensor 4, current|(256*C+D)/256-128|mA|-128|127.99609375
38|4|o2_s5_pump_lambda|Wide range oxygen sensor 5, equivalence ratio (by current)|(256*A+B)/32768||0|1.999969482421875
38|4|o2_s5_current|Wide range oxygen sensor 5, current|(256*C+D)/256-128|mA|-128|127.99609375
39|4|o2_s6_pump_lambda|Wide range oxygen sensor 6, equivalence ratio (by current)|(256*A+B)/32768||0|1.999969482421875
39|4|o2_s6_current|Wide range oxygen sensor 6, current|(256*C+D)/256-128|mA|-128|127.99609375
3A|4|o2_s7_pump_lambda|Wide range oxygen sensor 7, equivalence ratio (by current)|(256*A+B)/32768||0|1.999969482421875
3A|4|o2_s7_current|Wide range oxygen sensor 7, current|(256*C+D)/256-128|mA|-128|127.99609375
3B|4|o2_s8_pump_lambda|Wide range oxygen sensor 8, equivalence ratio (by current)|(256*A+B)/32768||0|1.999969482421875
3B|4|o2_s8_current|Wide range oxygen sensor 8, current|(256*C+D)/256-128|mA|-128|127.99609375
3C|2|catalyst_b1s1_temp|Catalyst temperature, bank 1 sensor 1|(256*A+B)/10-40|°C|-40|6513.5
3D|2|catalyst_b2s1_temp|Catalyst temperature, bank 2 sensor 1|(256*A+B)/10-40|°C|-40|6513.5
3E|2|catalyst_b1s2_temp|Catalyst temperature, bank 1 sensor 2|(256*A+B)/10-40|°C|-40|6513.5
3F|2|catalyst_b2s2_temp|Catalyst temperature, bank 2 sensor 2|(256*A+B)/10-40|°C|-40|6513.5
40|4|supported_41_60|PIDs supported, 41 to 60|=bitmap|=pids|0|4294967295
41|4|cycle_is_compression|Monitors of this driving cycle: compression ignition|B.3|=yes|0|1
42|2|module_voltage|Control module voltage|(256*A+B)/1000|V|0|65.535
43|2|absolute_load|Absolute load|100*(256*A+B)/255|%|0|25700
44|2|commanded_lambda|Commanded equivalence ratio|(256*A+B)/32768||0|1.999969482421875
45|1|relative_throttle|Relative throttle position|100*A/255|%|0|100
46|1|ambient_temp|Ambient air temperature|A-40|°C|-40|215
47|1|throttle_b|Absolute throttle position B|100*A/255|%|0|100
48|1|throttle_c|Absolute throttle position C|100*A/255|%|0|100
49|1|pedal_d|Accelerator pedal position D|100*A/255|%|0|100
4A|1|pedal_e|Accelerator pedal position E|100*A/255|%|0|100
4B|1|pedal_f|Accelerator pedal position F|100*A/255|%|0|100
4C|1|throttle_commanded|Commanded throttle actuator|100*A/255|%|0|100
4D|2|mil_run_time|Engine run time while MIL is on|256*A+B|min|0|65535
4E|2|cleared_run_time|Engine run time since DTCs were cleared|256*A+B|min|0|65535
4F|4|lambda_max|Highest value: equivalence ratio|A||0|255
4F|4|o2_voltage_max|Highest value: oxygen sensor voltage|B|V|0|255
4F|4|o2_current_max|Highest value: oxygen sensor current|C|mA|0|255
4F|4|intake_pressure_max|Highest value: intake manifold pressure|10*D|kPa|0|2550
50|4|air_flow_max|Highest value: mass air flow|10*A|g/s|0|2550
51|1|fuel_type|Type of fuel now used|A|=fuel_type|0|255
52|1|ethanol|Alcohol in fuel|100*A/255|%|0|100
53|2|evap_absolute_pressure|Evaporative system vapour pressure (absolute)|(256*A+B)/200|kPa|0|327.675
54|2|evap_wide_pressure|Evaporative system vapour pressure (wide range)|signed16(256*A+B)|Pa|-32768|32767
55|1|o2_short_trim_1|Short term secondary oxygen trim, bank 1|100*A/128-100|%|-100|99.21875
55|2|o2_short_trim_3|Short term secondary oxygen trim, bank 3|100*B/128-100|%|-100|99.21875
56|1|o2_long_trim_1|Long term secondary oxygen trim, bank 1|100*A/128-100|%|-100|99.21875
56|2|o2_long_trim_3|Long term secondary oxygen trim, bank 3|100*B/128-100|%|-100|99.21875
57|1|o2_short_trim_2|Short term secondary oxygen trim, bank 2|100*A/128-100|%|-100|99.21875
57|2|o2_short_trim_4|Short term secondary oxygen trim, bank 4|100*B/128-100|%|-100|99.21875
58|1|o2_long_trim_2|Long term secondary oxygen trim, bank 2|100*A/128-100|%|-100|99.21875
58|2|o2_long_trim_4|Long term secondary oxygen trim, bank 4|100*B/128-100|%|-100|99.21875
59|2|fuel_rail_absolute_pressure|Fuel rail pressure (absolute)|10*(256*A+B)|kPa|0|655350
5A|1|relative_pedal|Relative accelerator pedal position|100*A/255|%|0|100
5B|1|battery_life|Hybrid or EV battery pack remaining charge|100*A/255|%|0|100
5C|1|oil_temp|Engine oil temperature|A-40|°C|-40|215
5D|2|injection_timing|Fuel injection timing|(256*A+B)/128-210|°|-210|301.9921875
5E|2|fuel_rate|Engine fuel rate|(256*A+B)/20|L/h|0|3276.75
5F|1|emission_standard|Emission requirements that the vehicle is designed to|A|=emission_standard|0|255
"""  # noqa: E501 - one line a value
