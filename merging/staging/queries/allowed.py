"""What statements may hold: lists of what is known to be harmless. Whatever is not in them is refused.

Harmless is what reads nothing but its arguments and the dataset, changes nothing, and says the same tomorrow (but for
the day and the moment). Names of functions are DuckDB's.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Nodes of sqlglot's tree beside functions, which DuckDB's own names judge.
NODES: Final = (
    exp.Add, exp.Alias, exp.Aliases, exp.All, exp.Any, exp.AtTimeZone, exp.Between, exp.Binary, exp.BitString,
    exp.BitwiseAnd, exp.BitwiseLeftShift, exp.BitwiseNot, exp.BitwiseOr, exp.BitwiseRightShift, exp.BitwiseXor,
    exp.Boolean, exp.Bracket, exp.ByteString, exp.CTE, exp.Column, exp.ColumnDef, exp.Comprehension, exp.Cube,
    exp.DPipe, exp.DataType, exp.DataTypeParam, exp.Delete, exp.Distance, exp.Distinct, exp.Div, exp.Dot, exp.EQ,
    exp.Escape, exp.Except, exp.Filter, exp.From, exp.Glob, exp.Group, exp.GroupingSets, exp.Having, exp.HexString,
    exp.Identifier, exp.IgnoreNulls, exp.In, exp.Insert, exp.IntDiv, exp.Intersect, exp.Interval, exp.IntervalSpan,
    exp.Is, exp.Join, exp.Kwarg, exp.Lambda, exp.Lateral, exp.Limit, exp.Literal, exp.Mod, exp.National, exp.Neg,
    exp.Not, exp.Null, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Offset, exp.Order, exp.Ordered, exp.Paren,
    exp.PropertyEQ, exp.Qualify, exp.RawString, exp.RespectNulls, exp.Returning, exp.Rollup, exp.Schema, exp.Select,
    exp.Slice, exp.Star, exp.Sub, exp.Subquery, exp.Table, exp.TableAlias, exp.Tuple, exp.Unary, exp.UnicodeString,
    exp.Union, exp.Update, exp.Values, exp.Var, exp.Where, exp.Window, exp.WindowSpec, exp.With, exp.WithinGroup,
    exp.Func, exp.JSONPath, exp.JSONPathPart, exp.OnCondition, exp.OnConflict,
)  # fmt: skip

#: Of DuckDB's tree (``json_serialize_sql``): classes of expressions.
EXPRESSIONS: Final = _words("""
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA LAMBDA_REF OPERATOR STAR
    SUBQUERY TYPE WINDOW""")

#: The same of everything else that has a type: queries, tables, clauses, directions, and what is said of types.
PARTS: Final = _words("""
    SELECT_NODE SET_OPERATION_NODE
    BASE_TABLE EMPTY EXPRESSION_LIST JOIN SUBQUERY TABLE_FUNCTION
    DISTINCT_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER ORDER_MODIFIER
    ORDER_DEFAULT ASCENDING DESCENDING
    ARRAY_TYPE_INFO DECIMAL_TYPE_INFO ENUM_TYPE_INFO GENERIC_TYPE_INFO LIST_TYPE_INFO STRING_TYPE_INFO
    STRUCT_TYPE_INFO UNBOUND_TYPE_INFO""")

#: Functions that may stand where a table does.
TABLE_FUNCTIONS: Final = frozenset({"generate_series", "range", "unnest"})

_OPERATORS = "% & && * ** + - ->> / // < << <@ @ @> ^ ^@ | || ~ ~~ ~~* ~~~ !~~ !~~* >>"
_NUMBERS = """
    abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees divide even exp
    fdiv floor fmod gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm least least_common_multiple
    lgamma ln log log10 log2 mod multiply nextafter pi pow power radians round round_even roundbankers sign signbit sin
    sinh sqrt subtract tan tanh trunc xor"""
_TEXTS = """
    ascii bar base64 bin bit_length char_length character_length chr concat concat_ws contains damerau_levenshtein
    decode editdist3 encode ends_with error format format_bytes formatreadabledecimalsize formatreadablesize from_base64
    from_binary from_hex hamming hash hex ilike_escape instr jaccard jaro_similarity jaro_winkler_similarity lcase left
    left_grapheme len length length_grapheme levenshtein like_escape lower lpad ltrim md5 md5_number mismatches
    nfc_normalize not_ilike_escape not_like_escape octet_length ord overlay parse_formatted_bytes position prefix printf
    regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
    regexp_split_to_array repeat replace reverse right right_grapheme rpad
    rtrim sha1 sha256 split split_part starts_with str_split
    str_split_regex string_split string_split_regex string_to_array strip_accents strlen strpos substr substring
    substring_grapheme suffix to_base to_base64 to_binary to_hex translate trim ucase unbin unhex unicode upper
    url_decode url_encode"""
_MOMENTS = """
    age ago century current_date current_localtimestamp date_add date_diff date_part date_sub date_trunc datediff
    datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns
    epoch_us era get_current_timestamp hour isodow isoyear julian last_day make_date make_timestamp make_timestamp_ms
    make_timestamp_ns make_timestamptz microsecond millennium millisecond minute month monthname nanosecond now quarter
    second strftime strptime time_bucket timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours
    to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks
    to_years today transaction_timestamp try_strptime week weekday weekofyear year yearweek"""
_NESTED = """
    array_aggr array_aggregate array_append array_apply array_cat array_concat array_contains array_distinct
    array_extract array_filter array_has array_has_all array_has_any array_indexof array_intersect array_length
    array_pop_back array_pop_front array_position array_prepend array_push_back array_push_front array_reduce
    array_resize array_reverse array_reverse_sort array_select array_slice array_sort array_to_json array_to_string
    array_transform array_unique array_value array_where array_zip apply cardinality element_at filter flatten
    from_json from_json_strict generate_series json json_array json_array_length json_contains json_exists json_extract
    json_extract_path json_extract_path_text json_extract_string json_group_array json_group_object json_keys
    json_merge_patch json_object json_quote json_structure json_transform json_transform_strict json_type json_valid
    json_value list_aggr list_aggregate list_any_value list_append list_apply list_avg list_cat list_concat
    list_contains list_count list_distinct list_element list_extract list_filter list_first list_has list_has_all
    list_has_any list_indexof list_intersect list_last list_max list_median list_min list_mode list_pack list_position
    list_prepend list_product list_reduce list_resize list_reverse list_reverse_sort list_select list_slice list_sort
    list_string_agg list_sum list_transform list_unique list_value list_where list_zip map map_concat map_contains
    map_entries map_extract map_extract_value map_from_entries map_keys map_values range reduce row row_to_json
    struct_concat struct_contains struct_extract struct_extract_at struct_has struct_insert struct_keys struct_pack
    struct_position struct_update struct_values to_json unnest"""
_CHOICES = "coalesce constant_or_null if ifnull nullif typeof"
_AGGREGATES = """
    any_value approx_count_distinct arbitrary arg_max arg_max_null arg_min arg_min_null argmax argmin array_agg avg
    bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop covar_samp entropy favg
    first fsum geomean geometric_mean group_concat histogram kahan_sum kurtosis kurtosis_pop last list listagg mad max
    max_by mean median min min_by mode product quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count
    regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy sem skewness stddev stddev_pop stddev_samp string_agg
    sum sumkahan var_pop var_samp variance wavg weighted_avg"""
_WINDOWS = """
    cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number"""

FUNCTIONS: Final = _words(
    " ".join((_OPERATORS, _NUMBERS, _TEXTS, _MOMENTS, _NESTED, _CHOICES, _AGGREGATES, _WINDOWS))
)
