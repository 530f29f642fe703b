export default {
  props: { items: Array, types: Array, parts: Object },
  emits: ["act", "why"],
  methods: {
    opened(event, one) {
      if (event.target.open) this.$emit("why", { item: one.item });
    },
  },
  template: `
    <transition-group name="flip" tag="ol" class="ranked" aria-label="Recommendations, best first">
      <li v-for="one in items" :key="one.item" class="row" :class="one.move" :data-item="one.item">
        <span class="place">{{ one.place }}</span>
        <span class="pic" :style="{'--hue': one.hue}" aria-hidden="true">{{ one.letter }}</span>
        <div>
          <div class="name">{{ one.title }}</div>
          <p class="why"><span v-if="one.why.length">because {{ one.why.join("; ") }}</span>
            <span v-else>{{ one.category }}</span></p>
        </div>
        <div class="chance"><span>{{ one.chance }}</span><br>
          <span v-if="one.moved" class="badge" :class="one.move"><span class="hidden">moved: </span>{{ one.moved }}</span></div>
        <details @toggle="opened($event, one)">
          <summary :aria-label="'More about ' + one.title">Why, and act</summary>
          <ul v-if="parts[one.item]" class="bars" :aria-label="'What each source adds for ' + one.title">
            <li v-for="part in parts[one.item]" :key="part.name"><span>{{ part.name }}</span>
              <span class="track"><span class="fill" :class="{against: part.against}" :style="{width: part.width + '%'}"></span></span>
              <span class="val">{{ part.value }}</span></li>
          </ul>
          <div class="acts">
            <button v-for="kind in types" :key="kind.type" type="button" :data-type="kind.type"
              :aria-label="kind.label + ' ' + one.title"
              @click="$emit('act', {item: one.item, type: kind.type})">{{ kind.label }}</button>
          </div>
        </details>
      </li>
    </transition-group>`,
};
