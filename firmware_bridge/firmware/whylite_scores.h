/* What a model's values mean: as real numbers, and its scores as an answer.
 *
 * `stored` and `scores` are a tensor's bytes, wherever they lie. The one score p of a yes/no model is that of class 1,
 * and that of class 0 is 1 - p.
 */
#ifndef WHYLITE_SCORES_H
#define WHYLITE_SCORES_H

#include <stdbool.h>

#include "whylite.h"

#if !defined(WHYLITE_INTERFACE) || WHYLITE_INTERFACE != 4
#error "the model's whylite.h has another interface than this firmware: export the model, or emit its C, again"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Return one value of a tensor as a real number. */
float whylite_real(const whylite_tensor *tensor, const int8_t *stored, uint32_t index);

/* Return how many classes there are scores of, one of these scores, and which class has the highest: the first of
 * them. */
uint32_t whylite_classes(const whylite_model *model);
float whylite_score(const whylite_model *model, const int8_t *scores, uint32_t class_index);
uint32_t whylite_best(const whylite_model *model, const int8_t *scores);

/* Whether the two best scores are nearly equal: in units of the range, which two alone do not have, or of their sum. */
bool whylite_small_margin(const whylite_model *model, const int8_t *scores);

#ifdef __cplusplus
}
#endif

#endif
